#!/usr/bin/env bash
# One party's PostgreSQL, as the user it is started as. The first start makes the role `concordat`, with the password it
# finds in a file, and its databases `listings` and `state`; nobody else may come in, but that user over the socket.
set -euo pipefail
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
data=/var/lib/postgresql/data/cluster # below the volume's top, which a base image may own

if [ ! -d "$data" ]; then # it gets its name when it is whole: who is interrupted begins anew
    new=$data.new
    rm -rf "$new"
    initdb -D "$new" -U postgres -E UTF8 --locale C.UTF-8 --data-checksums --auth-local peer --auth-host reject >/dev/null
    echo "host listings,state concordat samenet scram-sha-256" >>"$new/pg_hba.conf"
    {
        echo "CREATE ROLE concordat LOGIN PASSWORD '$(cat /run/secrets/password)'"
        echo "CREATE DATABASE listings OWNER concordat"
        echo "CREATE DATABASE state OWNER concordat"
    } | postgres --single -D "$new" -c exit_on_error=on -c log_min_error_statement=panic postgres >/dev/null
    mv "$new" "$data"
fi
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
