"""What the portal's SCIM service announces and tolerates."""

import functools

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    EnterpriseUser,
    ETag,
    Filter,
    Group,
    Patch,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    User,
)
from scim2_server.service import ScimService

from keys.directory.documents import ScimUser

MOST_RESULTS = 200  # resources on a page

# What Microsoft Entra and Okta send beyond the standard.
TOLERANT = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


@functools.cache
def service() -> ScimService:
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MOST_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=False),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="API key",
                description="An API key of the portal with the scope portal:scim, as a bearer token.",
                primary=True,
            )
        ],
    )
    kinds = (ResourceType.from_resource(ScimUser), ResourceType.from_resource(Group))
    return ScimService(ScimProvider((User, EnterpriseUser, Group), kinds, config=config, policy=TOLERANT))
