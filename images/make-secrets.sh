#!/bin/sh
# Makes the secrets of compose.yaml and of the Kubernetes manifests: one file for each program, with
# what that program needs. Usage: images/make-secrets.sh [FOLDER], by default .secrets
set -eu
umask 077
folder=${1:-.secrets}
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -e "$folder" ]; then
  echo "$folder exists already, and its secrets may be in use; remove it, or name another" >&2
  exit 1
fi
command -v openssl > /dev/null || { echo "openssl is missing; install it" >&2; exit 1; }
target=$folder
# A failure leaves no half of the secrets behind.
mkdir -p "$(dirname "$target")"
folder=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$folder"' EXIT

token() { openssl rand -hex 24; }
key() { openssl rand -base64 32; }
hash() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }

redis_password=$(token)
database_password=$(token)
edge_token=$(token)
auth_token=$(token)
introspection_secret=$(token)
record_encryption_key=k1:$(key)
edge_auth_key=$(key)

echo "REDIS_PASSWORD=$redis_password" > "$folder/redis.env"
echo "REDIS_URL=redis://:$redis_password@redis:8380" > "$folder/redis-gateway.env"
echo "POSTGRES_PASSWORD=$database_password" > "$folder/postgres.env"
echo "DATABASE_URL=postgres://portcullis:$database_password@postgres:5432/portcullis" \
  > "$folder/database.env"
cat > "$folder/auth.env" <<END
STORE_TOKEN=$auth_token
INTROSPECTION_CLIENTS=edge=$introspection_secret
RECORD_ENCRYPTION_KEY=$record_encryption_key
EDGE_AUTH_KEY=$edge_auth_key
MASTER_KEY=k1:$(key)
END
cat > "$folder/edge.env" <<END
STORE_TOKEN=$edge_token
INTROSPECTION_SECRET=$introspection_secret
RECORD_ENCRYPTION_KEY=$record_encryption_key
EDGE_AUTH_KEY=$edge_auth_key
END
# Only the hashes of tokens are in this file, and a hash of 192 random bits leads to no token. So
# the user of a container may read it, whichever that is.
sed -e "s/secret = \"EDGE_TOKEN\"/sha256 = \"$(hash "$edge_token")\"/" \
    -e "s/secret = \"AUTH_TOKEN\"/sha256 = \"$(hash "$auth_token")\"/" \
    "$root/docs/redis-gateway-tokens.toml" > "$folder/redis-gateway-tokens.toml"
chmod 644 "$folder/redis-gateway-tokens.toml"
chmod 711 "$folder"
mv "$folder" "$target"
trap - EXIT
echo "The secrets are in $target. Back up MASTER_KEY of auth.env, apart from the database."
