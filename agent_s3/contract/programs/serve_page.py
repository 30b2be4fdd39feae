"""Runs in a machine: serves one page on a port of its own, and keeps the state that the page tells in a file.

Arguments: the page's file, the file of the state. Next to the state are the files `.port`, which is written, and
`.wanted`, the query with which the page is to be loaded.
"""

import http.server
import os
import sys


def main(page, state):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = state + ".wanted" if self.path == "/wanted" else page
            with open(wanted, "rb") as file:
                self.answer(200, file.read())

        def do_POST(self):
            told = self.rfile.read(int(self.headers["Content-Length"]))
            with open(state + ".part", "wb") as file:
                file.write(told)
            os.rename(state + ".part", state)
            self.answer(200, b"kept")

        def answer(self, code, body):
            self.send_response(code)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(state + ".port.part", "w") as file:
        file.write(str(server.server_port))
    os.rename(state + ".port.part", state + ".port")
    server.serve_forever()


main(*sys.argv[1:3])
