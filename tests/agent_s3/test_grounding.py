"""From phrases to pixels."""

import json
from typing import Any

import numpy as np
import pytest
from rollout_stage import editor_tree, editor_window, node

from agent_s3.grounding import Grounder, NotFound
from agent_s3.grounding.chain import ChainGrounder
from agent_s3.grounding.model import ModelGrounder
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


def model(*answers: dict[str, Any]) -> ScriptedModel:
    spoken = [{"x": 0, "y": 0, "width": 0, "height": 0, **answer} for answer in answers]
    return ScriptedModel([Reply.model_validate({"role": "grounding", "text": json.dumps(a)}) for a in spoken])


@pytest.mark.parametrize("text", ['{"found": false, "x": 0, "y": 0}', "over there", "{}", '{"found": true, "x": "a"}'])
async def test_a_model_that_finds_nothing_or_talks_is_a_miss(text: str):
    talker = ScriptedModel([lambda _request, _role: text])
    miss = await ModelGrounder(talker, Tally()).locate(seen(), "x")
    assert isinstance(miss, NotFound)
    assert [question.reply for question in miss.tried[0].questions] == [text]


async def test_a_chain_asks_the_model_only_when_the_tree_has_no_answer():
    eyes = model({"found": True, "x": 5, "y": 6})
    chain: Grounder = ChainGrounder([TreeGrounder(), ModelGrounder(eyes, Tally(), refine="never")])
    assert isinstance(await chain.locate(seen(), "Save"), Grounding)
    assert eyes.asked == []
    answer = await chain.locate(seen(), "the little cloud")
    assert isinstance(answer, Grounding)
    assert answer.by == "model"


async def test_an_answer_tells_who_was_asked_before_and_what_the_model_said():
    eyes = model({"found": True, "x": 5, "y": 6})
    chain = ChainGrounder([TreeGrounder(), ModelGrounder(eyes, Tally(), refine="never")])
    answer = await chain.locate(seen(), "the little cloud")
    assert [(tried.by, tried.reason) for tried in answer.tried] == [("tree", "no element fits"), ("model", "")]
    question = answer.tried[1].questions[0]
    assert (question.model, question.part.width, question.width) == ("scripted:inline", 320, 320)
    assert json.loads(question.reply)["x"] == question.x == 5


async def test_when_nobody_finds_it_the_answer_has_the_reasons_of_all_and_the_nearest_of_the_first():
    chain = ChainGrounder([TreeGrounder(), ModelGrounder(model({"found": False}), Tally())])
    miss = await chain.locate(seen(), "the Save As button of the toolbar")
    assert isinstance(miss, NotFound)
    assert miss.reason == "no element fits; it was not seen on the screen"
    assert miss.nearest
    assert [tried.by for tried in miss.tried] == ["tree", "model"]


async def test_a_number_that_is_not_in_the_list_is_no_question_to_a_model():
    eyes = model()
    miss = await ChainGrounder([TreeGrounder(), ModelGrounder(eyes, Tally())]).locate(seen(), "#99")
    assert isinstance(miss, NotFound)
    assert eyes.asked == []


async def test_the_score_of_the_tree_is_told_and_a_number_has_none():
    named = await TreeGrounder().locate(seen(), "the Save button")
    numbered = await TreeGrounder().locate(seen(), "#1")
    assert isinstance(named, Grounding)
    assert isinstance(numbered, Grounding)
    assert named.score is not None
    assert 0.55 < named.score <= 1
    assert numbered.score is None


def test_elements_on_a_second_monitor_are_clicked_where_it_lies():
    there = node("e/there", "push-button", "There", (-1910, 110, 60, 20))
    beyond = node("e/beyond", "push-button", "Beyond", (10, 110, 60, 20))
    look = Look(frame=Frame(np.zeros((1080, 1920, 3), np.uint8), 0.0), tree=editor_tree(there, beyond))
    info = fake_info(width=1920, height=1080).model_copy(update={"origin": (-1920, 100)})
    left = observed(look, info, ref=None, limit=80)
    assert (found(left, "There").x, found(left, "There").y) == (-1880, 120)
    assert "outside the screen" in missed(left, "Beyond").reason
