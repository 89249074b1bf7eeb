#!/usr/bin/env python3
"""Runs gcp-storage-emulator, and adds what crate object_store needs of Google's storage and the
emulator lacks: `gcs_server.py PORT FOLDER BUCKET`.

Answers to GET, HEAD and PUT of an object have ETag, Last-Modified and the generation. If-Match is
checked (412). A generation that was overwritten is not found (404). A range past the end is refused
(416). Connections are kept alive. All else is done by the emulator's own handlers and storage,
which this wraps inside the emulator's process. A proxy in front of it couldn't guarantee that the
headers and the bytes of an answer are of one version while another request overwrites the object.
"""
import io
import re
import sys
import threading
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.server import HANDLERS, RequestHandler
from gcp_storage_emulator.storage import Storage

# The emulator by itself answers one request at a time, and its storage relies on that. Answers are
# sent without the lock.
storage_lock = threading.Lock()


def add_version(request, response, storage):
    """Writes the headers. Returns the object's length."""
    resource = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
    response["ETag"] = '"%s"' % resource["etag"]
    response["Last-Modified"] = format_datetime(datetime.fromisoformat(resource["updated"].replace("Z", "+00:00")), usegmt=True)
    response["x-goog-generation"] = resource["generation"]
    return int(resource["size"])


def download(request, response, storage):
    with storage_lock:
        objects.download(request, response, storage)
        if response.status == HTTPStatus.NOT_FOUND:
            return
        size = add_version(request, response, storage)
    wanted = request.get_header("If-Match", "*")
    generation = response["x-goog-generation"]
    first = re.match(r"bytes=(\d+)-", request.get_header("Range", ""))
    if request.query.get("generation", [generation]) != [generation]:
        response.status = HTTPStatus.NOT_FOUND
    elif wanted not in ("*", response["ETag"]):
        response.status = HTTPStatus.PRECONDITION_FAILED
    elif first and int(first[1]) >= size:
        response.status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        response["Content-Range"] = "bytes */%d" % size
    else:
        return
    response.write_file(b"")


def upload(request, response, storage):
    # The emulator takes an empty body for a missing one, and fails.
    request._data = request.data or b""
    with storage_lock:
        objects.xml_upload(request, response, storage)
        if response.status == HTTPStatus.OK:
            add_version(request, response, storage)


class Handler(RequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        """The head of GET's answer. The emulator itself has no HEAD."""
        connection, self.wfile = self.wfile, io.BytesIO()
        self.do_GET()
        answer, self.wfile = self.wfile.getvalue(), connection
        self.wfile.write(answer[:answer.index(b"\r\n\r\n") + 4])


def main():
    port, folder, bucket = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    storage = Storage(data_dir=folder)
    buckets.create_bucket(bucket, storage)
    # The last route is the XML interface, /BUCKET/OBJECT, the only one that object_store uses.
    HANDLERS[-1][1].update(GET=download, PUT=upload)
    ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, storage)).serve_forever()


if __name__ == "__main__":
    main()
