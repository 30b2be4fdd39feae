"""What calls cost."""

from datetime import date
from pathlib import Path

import pytest

from llm.errors import ConfigError
from llm.pricing import Price, load_prices

PRICE = Price(input=2, cached=0.5, written=2.5, output=10, long_above=1000, long_input=2, long_output=1.5)


def test_cached_written_and_fresh_input_have_their_own_prices() -> None:
    usd = PRICE.usd(input_tokens=900, cached_tokens=500, written_tokens=300, output_tokens=10)
    assert usd == pytest.approx((100 * 2 + 500 * 0.5 + 300 * 2.5 + 10 * 10) / 1e6)


def test_a_long_prompt_makes_the_whole_call_dearer() -> None:
    usd = PRICE.usd(input_tokens=1001, cached_tokens=0, output_tokens=10)
    assert usd == pytest.approx((1001 * 2 * 2 + 10 * 10 * 1.5) / 1e6)


def test_the_most_a_call_can_cost_has_all_input_written_to_the_cache() -> None:
    assert PRICE.most_usd(input_tokens=900, output_tokens=10) == pytest.approx((900 * 2.5 + 10 * 10) / 1e6)


def test_every_shipped_price_has_a_source_and_a_date() -> None:
    for provider in load_prices().provider:
        assert provider.source.startswith("https://")
        assert date(2026, 1, 1) < provider.checked
        assert all(0 < p.cached <= p.input < p.output for p in provider.models.values())


def test_cache_writes_cost_a_quarter_more_at_anthropic_and_at_openai_since_gpt_5_6() -> None:
    tables = {provider.name: provider.models for provider in load_prices().provider}
    new = [p for name, p in tables["openai"].items() if name.startswith(("gpt-5.6", "gpt-6"))]
    assert len(new) >= 8
    assert all(p.written == pytest.approx(1.25 * p.input) for p in (*new, *tables["anthropic"].values()))


def test_a_dated_model_with_a_price_of_its_own_has_that_price() -> None:
    prices = load_prices()
    assert prices.find("openai", "gpt-4o-2024-05-13") != prices.find("openai", "gpt-4o")
    assert prices.find("openai", "gpt-4o-2024-11-20") == prices.find("openai", "gpt-4o")


def test_a_table_of_ones_own_can_price_a_server_given_by_url(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[[provider]]\nname = "openai+http://h/v1"\nsource = "us"\nchecked = 2026-11-01\n'
        "models = { m = { input = 1.0, cached = 1.0, output = 1.0 } }\n"
    )
    assert load_prices(path).find("openai+http://h/v1", "m") == Price(input=1, cached=1, output=1)


@pytest.mark.parametrize("text", ["[[provider]", '[[provider]]\nname = "x"\n', "prices = 1"])
def test_a_faulty_table_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cannot read the price table .*prices\.toml"):
        load_prices(path)
