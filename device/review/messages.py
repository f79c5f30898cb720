"""What the touch page may say to its server, and what is refused."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from config.settings import Name
from device.review.guard import checked_body
from device.store.answers import CANT_TELL, CLASS, SOMETHING_NEW

Identity = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{8,64}$")]
PatchId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Message(BaseModel):
    """What every page says when it asks for something."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    holder: Identity
    """The open page."""
    have: list[PatchId] = Field(max_length=32)
    """The patches it has already."""

    @classmethod
    async def read(cls, request: Request, key: bytes) -> Self:
        """The message in a request's body.

        Raises:
            HTTPException: not from our own page, too large, or not as it must be.
        """
        body = await checked_body(request, key)
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            raise HTTPException(422, "malformed") from None


class Tap(Message):
    """An operator's answer."""

    id: Identity
    """Made by the page: the same tap delivered twice has the same."""
    patch: PatchId
    answer: Literal["class", "something new", "can't tell", "skip"]
    name: Name | None
    """The class, or the name of something new."""
    operator: Name


class TakeBack(Message):
    """An operator's undo."""

    id: Identity
    operator: Name


def check_tap(tap: Tap, classes: list[str]) -> None:
    """Refuse an answer that is none of these classes, nor one of the other kinds.

    Raises:
        HTTPException: 422.
    """
    good = {
        CLASS: tap.name in classes,
        SOMETHING_NEW: tap.name is not None and tap.name not in classes,
        CANT_TELL: tap.name is None,
        "skip": tap.name is None,
    }
    if not good[tap.answer]:
        raise HTTPException(422, "malformed")
