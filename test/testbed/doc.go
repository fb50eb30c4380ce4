// Package testbed runs a real Kubernetes cluster with one node, its own registry and its own Git server out of this project's pinned modules.
//
// [Up] starts a cluster that outlives the calling process, [Attach] finds it again, [Cluster.Down] removes it without a trace.
// As root on Linux the node is real: containerd, runc, kubelet and kube-proxy run in namespaces of their own, with no way
// to the internet. Elsewhere kwok simulates the node: pods become Ready there without running.
// [ControlPlane] and [EnvtestAssets] serve tests that need an API server only.
package testbed
