#!/usr/bin/env python
import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["up"] and "--help" not in sys.argv:
        from config.startup import check_environment

        check_environment()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
