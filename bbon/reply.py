"""Reading a model's JSON reply, with or without words or a code fence around it. Pure."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_object(text: str, kind: type[ModelT]) -> ModelT:
    """The JSON object in a reply as a `kind`.

    Raises: `ValueError` that says in one line what is wrong, in words that a model can act on.
    """
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError("the reply holds no JSON object")
    try:
        return kind.model_validate_json(text[start : end + 1])
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the object"
        raise ValueError(f"{where}: {fault['msg']}") from error
