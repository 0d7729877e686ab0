# The redis gateway. `cargo xtask images` writes the files that this copies; the context is its
# folder.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portcullis-redis-gateway" \
      org.opencontainers.image.description="The redis gateway of Portcullis: Upstash's REST protocol in front of a Redis." \
      org.opencontainers.image.licenses="(MIT OR Apache-2.0) AND MPL-2.0 AND LGPL-2.1-or-later" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY redis-gateway/ /
ENV GATEWAY_LISTEN=0.0.0.0:8379 GATEWAY_ADMIN_LISTEN=0.0.0.0:9379
EXPOSE 8379 9379
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/portcullis-redis-gateway", "health"]
ENTRYPOINT ["/portcullis-redis-gateway"]
