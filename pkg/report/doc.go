// Package report watches all Flux objects of a cluster, computes the FluxReport from what it saw, and serves it as metrics.
//
// [Observer] keeps a small record of each object, reduced while the answer of the API server is read. [Compute] turns a snapshot of the records into
// the content of a FluxReport. [Collector] turns one into metrics. Nothing is polled: what changed in the cluster is in the next snapshot.
package report
