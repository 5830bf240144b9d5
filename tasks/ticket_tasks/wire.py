"""The wire contract for programs in any language: a JSON Schema for each message, and one AsyncAPI document.

`python -m ticket_tasks.wire` prints the document, `--schema NAME` one schema. They are made of the models, so they say
what the workers check; the package carries a copy in `schemas/`, which a test keeps in step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticket_tasks import names
from ticket_tasks.payloads import WISHES, Answer, Wish
from ticket_tasks.tracing import HEADERS

FOLDER = Path(__file__).parent / "schemas"
ASYNCAPI = "asyncapi.json"


def schema(model: type[Wish | Answer]) -> dict[str, Any]:
    """Return the JSON Schema of a payload."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def file_name(name: str) -> str:
    """Return what the schema of a message is called: `open_ticket.v1.json`."""
    return f"{name.removeprefix('tickets.')}.v{WISHES[name].model_fields['version'].default}.json"


def documents() -> dict[str, dict[str, Any]]:
    """Return every document by its file's name."""
    return {file_name(name): schema(model) for name, model in WISHES.items()} | {
        "answer.v1.json": schema(Answer),
        ASYNCAPI: asyncapi(),
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document: where messages go, what surrounds them, and where the answer lies."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ticket workers",
            "version": "1",
            "description": (
                "What other services can ask of the ticket workers. A message is one of Celery's (protocol 2) in a "
                "list of Redis: LPUSH its envelope, as JSON. However often it arrives, it is done once under one key. "
                "What makes no sense is parked where a person sees it."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {
            "intake": {
                "address": names.KEY_PREFIX + names.INTAKE,
                "description": "A Redis list. The workers take from its other end.",
                "messages": {_short(name): {"$ref": f"#/components/messages/{_short(name)}"} for name in WISHES},
            },
            "answers": {
                "address": names.ANSWER_PREFIX + "{key}",
                "description": (
                    f"A Redis list of one, for {names.ANSWER_KEPT_SECONDS} seconds, where the payload said "
                    '"answer": true. BLMOVE it onto itself to wait for it.'
                ),
                "parameters": {"key": {"description": "The key of the wish."}},
                "messages": {"answer": {"$ref": "#/components/messages/answer"}},
            },
        },
        "operations": {
            "ask": {"action": "receive", "channel": {"$ref": "#/channels/intake"}},
            "tell": {"action": "send", "channel": {"$ref": "#/channels/answers"}},
        },
        "components": {
            "messages": {_short(name): _message(name, model) for name, model in WISHES.items()}
            | {"answer": {"name": "answer", "payload": {"$ref": "answer.v1.json"}}}
        },
    }


def envelope(name: str, payload: Mapping[str, Any], *, message_id: str) -> dict[str, Any]:
    """Return a whole message, as it lies in the list; what `send_task` of any Celery makes is the same in longer."""
    return {
        "body": json.dumps([[], {"payload": dict(payload)}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "any",
            "task": name,
            "id": message_id,
            "root_id": message_id,
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": message_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "tickets", "routing_key": names.INTAKE},
            "priority": 0,
            "delivery_tag": message_id,
        },
    }


def _message(name: str, model: type[Wish]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (model.__doc__ or "").partition("\n")[0],
        "headers": {
            "type": "object",
            "required": ["task", "id"],
            "properties": {
                "task": {"const": name},
                "id": {"type": "string", "description": "Yours; it stands in the workers' log."},
                names.SENT_AT: {"type": "number", "description": "Seconds since 1970: how long it waited is measured."},
                names.CORRELATION: {"type": "string", "description": "Stands on every log line about it."},
                **{key: {"type": "string", "description": "The trace it belongs to, as W3C says."} for key in HEADERS},
            },
        },
        "payload": {"$ref": file_name(name)},
        "x-celery-body": '[[], {"payload": PAYLOAD}, {}]',
        "x-envelope-example": envelope(name, {"…": f"as {file_name(name)} says"}, message_id="a new UUID"),
    }


def _short(name: str) -> str:
    return name.removeprefix("tickets.")


def write(folder: Path = FOLDER) -> None:
    """Write every document anew."""
    folder.mkdir(exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m ticket_tasks.wire", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--schema", metavar="NAME", choices=sorted(WISHES), help="print the schema of this message only"
    )
    choice.add_argument("--write", action="store_true", help="write the copies that the package carries")
    asked = parser.parse_args()
    if asked.write:
        write()
    else:
        print(json.dumps(schema(WISHES[asked.schema]) if asked.schema else asyncapi(), indent=2))  # noqa: T201 - its job


if __name__ == "__main__":
    main()
