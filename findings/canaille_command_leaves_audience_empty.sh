#!/usr/bin/env bash
# Canaille 0.3.6, an OpenID provider: the ID tokens of a client that `canaille create client` has made have an empty `aud`.
# OpenID Connect Core 1.0, section 2, requires the client's id in it, so every client that checks the claim refuses these
# tokens. After `canaille set client ID --audience ID` the claim has the id.
#
# Observed:
#   aud of a client as created: []
#   aud after `set client --audience`: ['portal']
#
# Needs Python 3.11+. Installs pinned packages in a temporary folder, and starts a Canaille there.
set -euo pipefail
folder=$(mktemp -d)
finish() {
  [ -z "${server:-}" ] || kill -- "-$server" 2>/dev/null || true
  wait || true
  rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet --disable-pip-version-check "canaille[front,oidc,server,sqlite]==0.3.6" requests==2.34.2
cd "$folder"
port=$("$bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$bin/canaille" jwk create rsa >key.json 2>/dev/null
"$bin/python" - "$port" >canaille.toml <<'PYTHON'
import json
import sys

text = open("key.json").read()
key = json.loads(text[text.index("{") :])
pairs = ", ".join(f"{name} = {json.dumps(value)}" for name, value in key.items() if isinstance(value, str))
print('SECRET_KEY = "of one run"')
print(f'SERVER_NAME = "127.0.0.1:{sys.argv[1]}"')
print('PREFERRED_URL_SCHEME = "http"')
print('[CANAILLE_SQL]\nDATABASE_URI = "sqlite:///provider.db"')
print(f"[CANAILLE_OIDC]\nACTIVE_JWKS = [{{{pairs}}}]")
PYTHON
export CANAILLE_CONFIG="$folder/canaille.toml"
"$bin/canaille" install >canaille.log 2>&1
"$bin/canaille" create user --user-name carol --password "correct horse battery staple" --family-name C >>canaille.log 2>&1
"$bin/canaille" create client --client-id portal --client-secret "a secret of the client" --client-name portal \
  --redirect-uris http://127.0.0.1:9/callback --client-uri http://127.0.0.1 --scope openid \
  --grant-types authorization_code --response-types code \
  --token-endpoint-auth-method client_secret_basic >>canaille.log 2>&1
set -m # in a process group of its own
"$bin/canaille" run --bind "127.0.0.1:$port" >>canaille.log 2>&1 &
server=$!
set +m

cat >audience.py <<'PYTHON'
"""Signs in on the provider's pages, and prints the `aud` of the ID token."""
import base64
import json
import re
import sys
import time
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

url, callback = f"http://127.0.0.1:{sys.argv[1]}", "http://127.0.0.1:9/callback"
browser = requests.Session()
browser.trust_env = False
for _ in range(300):
    try:
        browser.get(f"{url}/.well-known/openid-configuration", timeout=5)
        break
    except requests.ConnectionError:
        time.sleep(0.2)
question = {"response_type": "code", "client_id": "portal", "scope": "openid", "nonce": "n", "redirect_uri": callback}
where, form = f"{url}/oauth/authorize?{urlencode(question)}", None
for _ in range(15):
    if where.startswith(callback):
        break
    page = browser.request("POST" if form else "GET", where, data=form, allow_redirects=False, timeout=30)
    form = None
    if page.is_redirect:
        where = urljoin(where, page.headers["Location"])
    else:
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
        form = {"csrf_token": token[1], "login": "carol", "password": "correct horse battery staple"}
sent = {"grant_type": "authorization_code", "code": parse_qs(urlsplit(where).query)["code"][0], "redirect_uri": callback}
answer = requests.post(f"{url}/oauth/token", sent, auth=("portal", "a secret of the client"), timeout=30)
claims = answer.json()["id_token"].split(".")[1]
print(json.loads(base64.urlsafe_b64decode(claims + "=="))["aud"])
PYTHON
audience=$("$bin/python" audience.py "$port")
echo "aud of a client as created: $audience"
[ "$audience" = "[]" ]
"$bin/canaille" set client portal --audience portal >>canaille.log 2>&1
audience=$("$bin/python" audience.py "$port")
echo "aud after \`set client --audience\`: $audience"
[ "$audience" = "['portal']" ]
