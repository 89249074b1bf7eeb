#!/usr/bin/env python3
"""Creates a container on azurite: `azure_container.py PORT NAME`.

Crate object_store can't create one, and azurite accepts only signed requests.
"""
import base64
import hashlib
import hmac
import sys
import urllib.request
from email.utils import formatdate

# Azurite's public account, the same in every installation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

port, name = sys.argv[1:]
# Without a body, urllib adds no headers that the signature would have to cover.
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
# The signed text: the method, eleven empty standard headers, Azure's headers, the resource
# (azurite's path also begins with the account), and the query.
text = "PUT" + "\n" * 12 + "".join(f"{key}:{value}\n" for key, value in headers.items()) + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
mark = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mark).decode()}"
url = f"http://127.0.0.1:{port}/{ACCOUNT}/{name}?restype=container"
urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=30).read()
