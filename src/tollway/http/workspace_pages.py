"""Pages of workspaces: what they are called, what they impose. For management keys.

Not here: what a workspace is (accounts.workspaces), which names mean something
(accounts.policy_check), the shapes (workspace_shapes). A change is in force in this process before
it is answered, in others within a second.
"""

from __future__ import annotations

from uuid import UUID, uuid5

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..accounts.keys import KeyRecord
from ..accounts.policy_check import checked_default_model, checked_routing
from ..accounts.workspaces import (
    Workspace,
    WorkspaceChange,
    get_workspace,
    list_workspaces,
    update_workspace,
)
from ..gateway import Gateway
from . import asked, workspace_shapes
from .replies import iso, json_reply
from .workspace_shapes import RoutingView, WorkspaceResponse, WorkspacesResponse, WorkspaceView

PAGE_DEFAULT, PAGE_MAX = 50, 100


async def list_all(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    query = request.query_params
    start = asked.offset(query)
    text = query.get("limit") or str(PAGE_DEFAULT)
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= PAGE_MAX:
        raise errors.bad_field("limit", f"expected a whole number from 1 to {PAGE_MAX}")
    found = await list_workspaces(gateway.store)
    page = found[start : start + int(text)]
    return json_reply(WorkspacesResponse([view(one) for one in page], len(found)))


async def get_one(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    found = await get_workspace(gateway.store, request.path_params["id"])
    return json_reply(WorkspaceResponse(view(found)))


async def update_one(gateway: Gateway, request: Request, caller: KeyRecord) -> Response:
    body = await asked.body(request, workspace_shapes.UpdateWorkspaceRequest)
    fields = workspace_shapes.said(body)
    if not fields:
        known = ", ".join(body.__struct_fields__)
        raise errors.bad_field("", f"nothing to change; known fields are {known}")
    catalogue = gateway.catalogue
    change = {name: fields[name] for name in WorkspaceChange.__struct_fields__ if name in fields}
    if fields.get("default_text_model") is not None:
        change["default_text_model"] = checked_default_model(
            fields["default_text_model"], catalogue
        )
    if "routing" in fields:
        change["routing"] = checked_routing(workspace_shapes.said(body.routing), catalogue)  # type: ignore[arg-type]  # it is set
    changed = await update_workspace(
        gateway.store,
        request.path_params["id"],
        WorkspaceChange(**change),
        now_ms=int(gateway.clock() * 1000),
    )
    await gateway.refresh_policies()
    return json_reply(WorkspaceResponse(view(changed)))


HANDLERS = {
    "list_workspaces": list_all,
    "get_workspace": get_one,
    "update_workspace": update_one,
}


def view(workspace: Workspace) -> WorkspaceView:
    return WorkspaceView(
        id=workspace.id,
        slug=workspace.id,
        name=workspace.name,
        description=workspace.description,
        default_text_model=workspace.default_text_model,
        default_provider_sort=workspace.default_provider_sort,
        routing=msgspec.convert(msgspec.structs.asdict(workspace.routing), RoutingView),
        created_at=iso(workspace.created_ms) or "",
        updated_at=iso(workspace.updated_ms),
        default_guardrail_id=str(uuid5(_GUARDRAILS, workspace.id)),
    )


_GUARDRAILS = UUID("7c0e5a3e-9d0b-5a53-8f0a-3f1d5f0a9d11")
"""Names what the ids of workspaces' own guardrails are made from."""
