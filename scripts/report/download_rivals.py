"""Downloads objects into a folder by one of the programs that downloads.py measures:
download_rivals.py CONTENDER ENDPOINT FOLDER URL ...
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARALLEL = 8


def obstore(endpoint, folder, urls):
    import obstore
    from obstore.store import S3Store

    options = {"endpoint": endpoint, "region": "us-east-1", "virtual_hosted_style_request": False}
    bucket = urls[0].split("/")[2]
    store = S3Store(bucket, client_options={"allow_http": True}, **options)

    def download(url):
        key = url.split("/", 3)[3]
        with open(Path(folder) / key.rsplit("/", 1)[1], "wb") as file:
            for chunk in obstore.get(store, key).stream(min_chunk_size=8 << 20):
                file.write(chunk)

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(download, urls))


def s3dlio(_endpoint, folder, urls):
    import s3dlio

    s3dlio.download(urls[0].rsplit("/", 1)[0] + "/", folder)


if __name__ == "__main__":
    contender, endpoint, folder, *urls = sys.argv[1:]
    {"obstore": obstore, "s3dlio": s3dlio}[contender](endpoint, folder, urls)
