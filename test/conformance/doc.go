// Package conformance compares the generated distribution with the manifests that the Flux project released.
package conformance
