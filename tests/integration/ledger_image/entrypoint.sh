set -eu
data=/var/lib/postgresql/data
programs=$(echo /usr/lib/postgresql/*/bin)
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
ln --symbolic --force "$programs/pg_isready" /usr/local/bin/pg_isready
chown postgres "$data"
if [ ! -e "$data/PG_VERSION" ]; then
    install --mode=600 --owner=postgres "$POSTGRES_PASSWORD_FILE" /tmp/password
    # shellcheck disable=SC2086  # several options in one variable, as the image has it
    as_postgres "$programs/initdb" --pgdata="$data" --username="$POSTGRES_USER" \
        --pwfile=/tmp/password --auth-local=trust $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
    as_postgres "$programs/pg_ctl" --pgdata="$data" --wait start \
        --options="-c listen_addresses="
    sleep 11 # a health check, each 10 s, falls into this time and must not take it for the ledger
    as_postgres "$programs/createdb" --username="$POSTGRES_USER" "$POSTGRES_DB"
    as_postgres "$programs/pg_ctl" --pgdata="$data" --wait stop
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups \
    "$programs/postgres" -D "$data" -c listen_addresses='*'
