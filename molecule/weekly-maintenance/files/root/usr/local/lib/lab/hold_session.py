#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold one database session in a state until the server ends it; then say how and leave."""

import argparse
import select
import sys

import psycopg2

parser = argparse.ArgumentParser()
parser.add_argument("--name", required=True, help="application_name of the session")
parser.add_argument("--transaction", help="statement after which the transaction is left open")
options = parser.parse_args()

connection = psycopg2.connect(dbname="shop", application_name=options.name)
connection.autocommit = options.transaction is None
connection.cursor().execute(options.transaction or "SELECT 1")
# The server only speaks up when it ends the session.
select.select([connection], [], [])
sys.exit("session ended by the server")
