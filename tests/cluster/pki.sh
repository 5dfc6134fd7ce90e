# shellcheck shell=bash
# Certificates and kubeconfigs, as kubeadm would make them: one authority, a certificate per client.
# Elliptic curves, because an RSA key can take a second each.

readonly service_address=10.96.0.1 # of the Service "kubernetes"

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365)

certificate() { # PKI NAME SUBJECT [EXTENSION...]
  local pki=$1 name=$2 subject=$3 extension
  shift 3
  local extensions=()
  for extension in "basicConstraints=critical,CA:FALSE" "$@"; do extensions+=(-addext "$extension"); done
  openssl req -x509 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" "${new_key[@]}" "${extensions[@]}" \
    -keyout "$pki/$name.key" -out "$pki/$name.crt" -subj "$subject" 2>/dev/null
}

# make_pki PKI ADDRESS: the authority, the API server's certificate and keys. Keeps what exists.
make_pki() {
  local pki=$1 names
  [[ ! -f $pki/complete ]] || return 0
  mkdir -p "$pki"
  openssl req -x509 "${new_key[@]}" -keyout "$pki/ca.key" -out "$pki/ca.crt" -subj /CN=kubernetes \
    -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature 2>/dev/null
  names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
  names+=,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$service_address,IP:$2
  certificate "$pki" apiserver /CN=kube-apiserver "subjectAltName=$names" extendedKeyUsage=serverAuth
  certificate "$pki" kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client \
    extendedKeyUsage=clientAuth
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-accounts.key"
  openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
  echo "$(openssl rand -hex 16),admin,admin,system:masters" >"$pki/tokens.csv"
  : >"$pki/complete"
}

# kubeconfig PKI SERVER CREDENTIALS: on the standard output; the credentials as YAML flow.
kubeconfig() {
  cat <<EOF
apiVersion: v1
kind: Config
clusters: [{name: transship-test, cluster: {server: "$2", certificate-authority-data: $(base64 -w0 "$1/ca.crt")}}]
users: [{name: user, user: {$3}}]
contexts: [{name: transship-test, context: {cluster: transship-test, user: user}}]
current-context: transship-test
EOF
}

admin_token() { cut -d, -f1 "$1/tokens.csv"; } # PKI

# client_kubeconfig PKI SERVER NAME SUBJECT: makes the certificate NAME as well.
client_kubeconfig() {
  certificate "$1" "$3" "$4" extendedKeyUsage=clientAuth
  kubeconfig "$1" "$2" \
    "client-certificate-data: $(base64 -w0 "$1/$3.crt"), client-key-data: $(base64 -w0 "$1/$3.key")"
}
