"""The guest server's token can be renewed under it."""

import os

import pytest

from vm_pool.guest.token_file import TokenFile


def test_the_token_of_the_file_is_admitted_and_no_other(tmp_path):
    (tmp_path / "token").write_text("first\n")
    token = TokenFile(tmp_path / "token")
    assert token.admits("Bearer first")
    assert not any(map(token.admits, ("", "Bearer", "Bearer ", "Bearer firs", "first", "bearer first", "Bearer é")))


def test_a_replaced_file_renews_it(tmp_path):
    (tmp_path / "token").write_text("first")
    token = TokenFile(tmp_path / "token")
    (tmp_path / "new").write_text("second")
    (tmp_path / "new").replace(tmp_path / "token")
    assert (token.admits("Bearer first"), token.admits("Bearer second")) == (False, True)


def test_a_file_that_is_written_over_renews_it(tmp_path):
    file = tmp_path / "token"
    file.write_text("first")
    os.utime(file, (1, 1))
    token = TokenFile(file)
    with file.open("r+") as opened:
        opened.write("again")
    assert (token.admits("Bearer first"), token.admits("Bearer again")) == (False, True)


def test_a_file_that_is_taken_away_opens_nothing(tmp_path):
    (tmp_path / "token").write_text("first")
    token = TokenFile(tmp_path / "token")
    (tmp_path / "token").unlink()
    assert (token.admits("Bearer first"), token.admits("Bearer ")) == (True, False)
    with pytest.raises(FileNotFoundError):
        TokenFile(tmp_path / "token")
