#!/bin/sh
# Makes the certificates of the tests anew: two authorities, each with a server's certificate for this machine and a
# client's. They protect nothing, so their keys may be known to everybody. Valid from long ago, for machines whose clock
# is behind, until 2120.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

signed() { # AUTHORITY NAME EXTENSIONS [SELF-SIGNED]
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/$2.key"
    openssl req -new -key "$work/$2.key" -subj "/CN=Convoy tests $2" -out "$work/request.pem"
    : > "$work/index"
    printf '%b' "$3" > "$work/extensions"
    printf '[ca]\ndefault_ca = all\n[all]\ndatabase = %s\nnew_certs_dir = %s\nrand_serial = yes\nemail_in_dn = no\n' \
        "$work/index" "$work" > "$work/config"
    printf 'default_md = sha256\npolicy = names\n[names]\ncommonName = supplied\n' >> "$work/config"
    openssl ca -batch -notext -config "$work/config" -keyfile "$work/$1-ca.key" ${4:--cert "$1-ca.pem"} \
        -startdate 20200101000000Z -enddate 21200101000000Z -extfile "$work/extensions" -in "$work/request.pem" \
        -out "$2.pem"
}

for authority in first second; do
    signed "$authority" "$authority-ca" 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' -selfsign
    for user in server client; do
        signed "$authority" "$authority-$user" "extendedKeyUsage=${user}Auth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
        install -m 644 "$work/$authority-$user.key" .
    done
done
openssl pkcs8 -topk8 -in first-server.key -passout pass:secret -out first-server-encrypted.key
