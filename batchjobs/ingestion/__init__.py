"""Files in: bytes → numbered raw rows → checked columns + rejected rows → set-based writes."""
