"""Data folders: only ours are touched, by one run at a time, and their secrets stay private."""

import stat

import pytest

from devkit.description import credentials_file, read_description, write_description
from devkit.environment import Addresses, portal_settings
from devkit.folder import DataFolder, FolderInUse
from devkit.servers import Servers
from devkit.testservers import require_test_database
from devkit.words import Refusal


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Refusal, match="was not made by this program"):
        DataFolder.take(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_only_one_run_has_a_folder(tmp_path):
    first = DataFolder.take(tmp_path)
    with pytest.raises(FolderInUse):
        DataFolder.take(tmp_path)
    first.release()
    DataFolder.take(tmp_path).release()


def test_secrets_and_ports_stay_until_the_folder_is_emptied(tmp_path):
    folder = DataFolder.take(tmp_path)
    secret, port = folder.secret("secret_key"), folder.remember_port("sandbox", 4242)
    folder.release()
    folder = DataFolder.take(tmp_path)
    assert (folder.secret("secret_key"), folder.port("sandbox")) == (secret, port)
    folder.empty()
    assert folder.secret("secret_key") != secret
    assert folder.port("sandbox") is None
    folder.release()


def test_demo_json_is_private_and_says_what_a_script_needs(tmp_path):
    folder = DataFolder.take(tmp_path)
    credentials_file(folder).write_text('{"logins": [], "api_keys": {"platform": "key"}}')
    servers = Servers("postgresql://x/y", "redis://x/0", superuser_url=None, redis_is_ours=True)
    addresses = Addresses(portal_port=5080, sandbox_port=4242)
    write_description(folder, portal_settings(folder, servers, addresses, hold_seconds=10), addresses)
    description = read_description(tmp_path)
    assert description is not None
    assert description["portal_url"] == "http://127.0.0.1:5080"
    assert description["api_keys"] == {"platform": "key"}
    for name in ("demo.json", "credentials.json", "state.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    folder.release()


def test_a_database_that_is_not_for_tests_is_refused():
    with pytest.raises(Refusal, match="ends with _test"):
        require_test_database("portal")
