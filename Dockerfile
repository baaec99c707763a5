# Both commands as an unprivileged user with any user id:
#   docker build -t consistent-edm .
#   docker run --rm -u "$(id -u)" -v "$PWD/results:/study/results" consistent-edm            # make figures
#   docker run --rm consistent-edm make test
FROM debian:12-slim

RUN apt-get -qq update \
    && apt-get -qq install --no-install-recommends ca-certificates make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 user \
    && install --directory --owner user --mode 777 /study

WORKDIR /study
USER user
COPY --chown=user Makefile pyproject.toml README.md LICENSE ./
COPY --chown=user requirements requirements
COPY --chown=user pipeline pipeline
# Install what both commands need now, not when they run.
RUN make .venv/.runtime .venv/.dev .venv/.torch
COPY --chown=user . .

CMD ["make", "figures"]
