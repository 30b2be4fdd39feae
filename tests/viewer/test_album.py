"""Pictures inside one page: the most important ones first, each once, within a limit."""

from agent_s3.paths import RunPaths
from agent_s3.types import FrameRef
from viewer.album import Album, Shot
from viewer.report_data import load, pictures_by_weight


def test_what_does_not_fit_is_left_out_from_the_end_and_still_leads_to_its_file(golden_run: RunPaths) -> None:
    refs = [ref for ref in pictures_by_weight(load(golden_run)) if ref]
    one_picture = len(Album(golden_run).encode())
    album = Album(golden_run, bytes_at_most=one_picture + 4000)

    album.collect(refs)
    album.encode()

    assert album.frame(refs[0]).css
    assert album.frame(refs[-1]) == Shot("", f"frames/{refs[-1].sha256}.png")


def test_a_name_that_is_no_hash_leads_nowhere(golden_run: RunPaths) -> None:
    album = Album(golden_run)
    ref = FrameRef(sha256="../config", width=1, height=1)

    album.collect([ref])

    assert album.encode() == ""
    assert album.frame(ref) == Shot("", "")


def test_a_picture_asked_for_twice_is_embedded_once(golden_run: RunPaths) -> None:
    refs = [ref for ref in pictures_by_weight(load(golden_run)) if ref]
    album = Album(golden_run)

    album.collect([*refs, *refs])

    assert album.encode().count("url(") == len({ref.sha256 for ref in refs})
