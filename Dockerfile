# Two images without a secret in them: `party`, for every party and for `setup`, and `database`.
# Both bases are Debian's or made of it; .ci/compose makes its own where no registry can be reached.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
ARG DATABASE_BASE=docker.io/library/postgres:15-bookworm

FROM ${BASE} AS build
WORKDIR /source
COPY . .
# Where there is a directory wheels/, nothing comes from anywhere else.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/concordat \
    && if [ -d wheels ]; then set -- --no-index --find-links wheels; fi \
    && /build/bin/pip --python /opt/concordat/bin/python install --no-cache-dir "$@" '.[figures]'

FROM ${BASE} AS party
COPY --from=build /opt/concordat /opt/concordat
ENV PATH=/opt/concordat/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    CONCORDAT_ROSTER=/federation/agreement.roster CONCORDAT_URLS=/federation/urls.json \
    CONCORDAT_HOST=0.0.0.0 CONCORDAT_PORT=8080
# A new volume takes over owner and mode of what it is mounted on.
RUN python -m api.compose.setup mountpoints && chown -R 10001:10001 /federation
USER 10001:10001
WORKDIR /federation

FROM ${DATABASE_BASE} AS database
# PostgreSQL wants its user to have a name. The number is the parties': the password's file is theirs alone to read.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin concordat \
    && install -d -o concordat -g concordat -m 700 /var/lib/postgresql/data
COPY api/compose/database.sh /usr/local/bin/concordat-database
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["concordat-database"]
