"""What every page has: panel layout, language, session, tabs; and how it is rendered."""

import secrets
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from config.recipes import Recipes, load_recipes
from config.settings import Settings
from device.review.edition import edition_of
from device.review.guard import COOKIE, session_of, token_of
from device.review.layout import TABS, Layout, arrange, panel_mm
from device.review.texts import class_word, languages, texts

FOLDER = Path(__file__).parent
LANGUAGE_COOKIE = "millsight-language"
YEAR_S = 365 * 24 * 3600


class Shell:
    """Renders pages for one panel."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        """Lay out the panel of the settings; `key` signs the sessions' tokens.

        Raises:
            UserError: nobody here speaks the language of the settings.
        """
        texts(settings.review.language)
        self.settings = settings
        self._key = key
        self.edition = edition_of(settings)
        self._room = 0, False
        self.layout: Layout
        recipes = load_recipes(settings)
        self.make_room(max(len(s.recipe.classes) for s in recipes.all().values()), recipes)
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, trim_blocks=True
        )

    def make_room(self, answers: int, recipes: Recipes) -> None:
        """Lay out the panel anew if another number of answers is to be found on it, that of the
        recipe with most, or if a whole frame is to be shown for another reason than before."""
        frame = any(s.recipe.regions != "whole" for s in recipes.all().values())
        if (answers, frame) != self._room:
            self.layout = arrange(*panel_mm(self.settings.review), answers=answers, frame=frame)
            self._room = answers, frame

    def language(self, request: Request) -> str:
        """The language that a browser chose, or that of the settings."""
        chosen = request.cookies.get(LANGUAGE_COOKIE)
        return chosen if chosen in languages() else self.settings.review.language

    def fragment(self, request: Request, template: str, **values: Any) -> str:
        """A template with the panel's layout, and the texts of the browser's language as `t`."""
        language = self.language(request)
        return self._templates.get_template(template).render(
            t=texts(language),
            language=language,
            layout=self.layout,
            settings=self.settings,
            edition=self.edition,
            class_word=class_word,
            **values,
        )

    def render(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page: a template with the tabs and the session's token besides."""
        session = session_of(request)
        fresh = session is None
        session = session or secrets.token_urlsafe(24)
        token = token_of(self._key, session)
        content = self.fragment(request, template, tabs=TABS, token=token, status=status, **values)
        response = HTMLResponse(content, status)
        if fresh:
            set_cookie(response, COOKIE, session)
        return response


def set_cookie(response: Response, name: str, value: str) -> None:
    """Give the browser a cookie for a year that no script and no other site can use."""
    response.set_cookie(name, value, max_age=YEAR_S, httponly=True, samesite="strict")
