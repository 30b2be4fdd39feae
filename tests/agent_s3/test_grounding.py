"""From phrases to pixels."""

import json
from typing import Any

import numpy as np
import pytest
from rollout_stage import editor_tree, editor_window, node

from agent_s3.grounding import Grounder, NotFound
from agent_s3.grounding.chain import ChainGrounder
from agent_s3.grounding.model import MAX_SIDE, ModelGrounder, Sent, place, shrink
from agent_s3.grounding.tree import TreeGrounder, locate
from agent_s3.observation import Observation, observed
from agent_s3.tally import Tally
from agent_s3.types import Grounding
from llm.scripted import Reply, ScriptedModel
from vm_pool.providers.fake import fake_info
from vm_pool.types import Box, Frame, Look, Node, Window


def seen(*extra: Node, width: int = 320, height: int = 200, windows: tuple[Window, ...] | None = None) -> Observation:
    pixels = np.zeros((height, width, 3), np.uint8)
    look = Look(frame=Frame(pixels, 0.0), tree=editor_tree(*extra), windows=windows)
    return observed(look, fake_info(width=width, height=height), ref=None, limit=80)


def found(observation: Observation, phrase: str) -> Grounding:
    answer = locate(observation, phrase)
    assert isinstance(answer, Grounding), answer
    return answer


def missed(observation: Observation, phrase: str) -> NotFound:
    answer = locate(observation, phrase)
    assert isinstance(answer, NotFound), answer
    return answer


@pytest.mark.parametrize(
    "phrase",
    [
        "#1",
        " #1 push-button",
        "1",
        "element 1",
        "Save",
        "the Save button",
        'the "Save" button',
        "save button in the Editor window",
    ],
)
def test_a_button_is_found_by_number_and_by_the_ways_one_says_it(phrase: str):
    assert (found(seen(), phrase).x, found(seen(), phrase).y) == (40, 20)


def over(**changes: Any) -> Window:
    """A window over the Save button of the editor, but not over its Cancel button."""
    return editor_window(**{"id": "0x2", "title": "Clock", "box": Box(x=0, y=0, width=70, height=60), **changes})


@pytest.mark.parametrize("phrase", ["#1", "the Save button"])
def test_an_element_that_lies_under_another_window_is_not_clicked(phrase: str):
    windows = (editor_window(active=False), over())
    assert "'Clock' covers it" in missed(seen(windows=windows), phrase).message
    assert found(seen(windows=windows), "the Cancel button")


@pytest.mark.parametrize(
    "windows",
    [
        (over(), editor_window()),
        (editor_window(), over(minimized=True)),
        (editor_window(title="not its title"), over()),
        (editor_window(box=Box(x=0, y=100, width=300, height=90)), over()),
    ],
)
def test_a_window_below_or_out_of_the_way_and_one_that_cannot_be_placed_cover_nothing(windows: tuple[Window, ...]):
    assert found(seen(windows=windows), "the Save button")


def test_what_is_in_a_minimized_window_is_not_listed_and_not_found():
    assert seen(windows=(editor_window(minimized=True),)).elements.lines() == []
    assert len(seen(windows=(editor_window(minimized=True), editor_window(id="0x3"))).elements.elements) == 4


@pytest.mark.parametrize("phrase", ["the Name field", "Name", "the Name text box"])
def test_a_field_is_found_by_its_label(phrase: str):
    assert found(seen(), phrase).element == "text Name"


def test_an_element_is_found_by_what_it_holds():
    assert (
        found(seen(), "the text area with old words").box == editor_tree().root.children[0].children[0].children[3].box
    )


def test_equal_names_are_told_apart_by_their_role():
    tab = node("e/tab", "page-tab", "Save", (150, 10, 50, 20))
    assert found(seen(tab), "the Save tab").element == "page-tab Save"
    assert found(seen(tab), "the Save button").element == "push-button Save"


def test_equally_good_elements_are_an_honest_miss_that_lists_them():
    twin = node("e/save2", "push-button", "Save", (200, 100, 60, 20))
    miss = missed(seen(twin), "Save")
    assert "several" in miss.reason
    assert len(miss.nearest) == 2


def test_a_label_inside_its_button_is_the_same_place():
    label = node("e/l", "label", "Save it", (15, 12, 30, 10))
    button = node("e/b", "push-button", "Save it", (10, 10, 60, 20))
    assert found(seen(button, label), "Save it").by == "tree"


def test_what_is_not_there_is_a_miss_with_the_nearest():
    miss = missed(seen(), "the Save As button of the toolbar in the mail program")
    assert "no element fits" in miss.reason
    assert missed(seen(), "#99").reason.endswith("from 1 to 4")
    assert "no elements" in missed(Observation(Look(), 10, 10), "x").reason


def test_a_bare_number_means_the_button_with_that_name_where_there_is_one():
    seven = node("e/7", "push-button", "3", (150, 150, 20, 20))
    assert found(seen(seven), "3").by == "tree"
    assert found(seen(seven), "#3").by == "number"


def test_a_short_text_at_the_edge_of_its_wide_paragraph_is_one_place_with_it():
    """So pages are made: each heading and paragraph holds an element of the same text."""
    wide = node("e/p", "paragraph", "Hi there", (0, 150, 300, 20), text="Hi there")
    text = node("e/s", "static", "Hi there", (0, 150, 40, 20))
    assert (found(seen(wide, text), "Hi there").x, found(seen(text, wide), "Hi there").x) == (20, 20)
    apart = node("e/t", "static", "Hi there", (200, 100, 40, 20))
    assert "several elements fit" in missed(seen(wide, text, apart), "Hi there").reason


def test_an_element_half_off_the_screen_is_clicked_in_its_visible_part():
    edge = node("e/edge", "push-button", "Edge", (300, 180, 100, 100))
    assert (found(seen(edge), "Edge").x, found(seen(edge), "Edge").y) == (310, 190)
    beyond = node("e/far", "push-button", "Far", (400, 300, 20, 20))
    assert "outside the screen" in missed(seen(beyond), "Far").reason


def test_an_empty_cell_and_what_the_list_left_out_are_found_by_name():
    cell = node("e/b2", "table-cell", "B2", (200, 100, 60, 20))
    assert found(seen(cell), "cell B2").x == 230
    short = observed(seen().look, fake_info(), ref=None, limit=1)
    assert found(short, "the Cancel button").element == "push-button Cancel"


def model(**answer: Any) -> ScriptedModel:
    return ScriptedModel([Reply.model_validate({"role": "grounding", "text": json.dumps(answer)})])


async def test_the_point_of_a_model_is_scaled_from_the_picture_it_was_sent():
    observation = seen(width=2880, height=1440)
    answer = await ModelGrounder(model(found=True, x=720, y=100), Tally()).locate(observation, "x")
    assert isinstance(answer, Grounding)
    assert (answer.x, answer.y, answer.by) == (1441, 201, "model")


def test_the_picture_sent_keeps_its_shape_and_small_ones_their_size():
    sent = shrink(Frame(np.zeros((1080, 1920, 3), np.uint8), 0.0))
    assert (sent.width, sent.height) == (MAX_SIDE, 810)
    assert shrink(Frame(np.zeros((100, 200, 3), np.uint8), 0.0)).width == 200


def test_a_point_outside_the_picture_is_a_miss():
    assert isinstance(place("x", 320, 10, Sent(b"", 320, 200), seen()), NotFound)
    corner = place("x", 319, 199, Sent(b"", 320, 200), seen())
    assert isinstance(corner, Grounding)
    assert (corner.x, corner.y) == (319, 199)


@pytest.mark.parametrize("text", ['{"found": false, "x": 0, "y": 0}', "over there", "{}", '{"found": true, "x": "a"}'])
async def test_a_model_that_finds_nothing_or_talks_is_a_miss(text: str):
    talker = ScriptedModel([lambda _request, _role: text])
    assert isinstance(await ModelGrounder(talker, Tally()).locate(seen(), "x"), NotFound)


async def test_a_chain_asks_the_model_only_when_the_tree_has_no_answer():
    eyes = model(found=True, x=5, y=6)
    chain: Grounder = ChainGrounder([TreeGrounder(), ModelGrounder(eyes, Tally())])
    assert isinstance(await chain.locate(seen(), "Save"), Grounding)
    assert eyes.asked == []
    answer = await chain.locate(seen(), "the little cloud")
    assert isinstance(answer, Grounding)
    assert answer.by == "model"
