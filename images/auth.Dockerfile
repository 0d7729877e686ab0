# The auth service. `cargo xtask images` writes the files that this copies; the context is its
# folder.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="portcullis-auth" \
      org.opencontainers.image.description="The auth service of Portcullis: it logs in, issues, refreshes and revokes." \
      org.opencontainers.image.licenses="(MIT OR Apache-2.0) AND MPL-2.0 AND LGPL-2.1-or-later" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY auth/ /
# SQLite's files: all that the server writes.
COPY --chown=65532:65532 data/ /data/
VOLUME /data
ENV AUTH_LISTEN=0.0.0.0:8788 AUTH_ADMIN_LISTEN=0.0.0.0:9788 DATABASE_URL=sqlite:///data/portcullis.db
EXPOSE 8788 9788
WORKDIR /data
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/portcullis-auth", "health"]
ENTRYPOINT ["/portcullis-auth"]
CMD ["serve"]
