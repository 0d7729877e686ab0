# The edge on workerd, with its policy. `cargo xtask images` writes the files that this copies; the
# context is its folder. Variables and secrets come from the environment.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portcullis-edge" \
      org.opencontainers.image.description="The edge of Portcullis on workerd: it validates access tokens, limits rates and forwards." \
      org.opencontainers.image.licenses="(MIT OR Apache-2.0) AND Apache-2.0 AND LGPL-2.1-or-later AND MPL-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY edge/ /
EXPOSE 8787
WORKDIR /edge
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/workerd", "test", "/edge/health.capnp"]
ENTRYPOINT ["/workerd"]
CMD ["serve", "/edge/config.capnp"]
