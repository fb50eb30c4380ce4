// Package tools builds the pinned command line tools and cluster binaries of this project out of their Go modules and keeps the results in a cache.
//
// Every directory beside this file that holds a go.mod is a family: a small module whose only purpose is to pin one program
// and what it is made of, so that two programs never have to agree on a version of a shared library. A binary is known by a
// short name ("kube-apiserver"); a second version of it carries a suffix ("kube-apiserver@1.35").
//
// The benchmarks measure kube-state-metrics beside the operator; nothing else here uses it.
//
// In every version here, the source controller uses fluxcd/pkg/artifact v0.18.1 in place of v0.18.2 and the helm controller the released
// helm.sh/helm/v4 in place of Flux's fork, because module proxies do not serve those two. There is only the source-watcher of Flux 2.9.2,
// v2.2.2, because the checksum database does not know that of 2.9.4. Everything else is the release's own code. Kubernetes 1.32 stays at
// 1.32.5, the last patch all of whose modules are served.
package tools
