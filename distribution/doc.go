// Package distribution holds what this project ships as Flux: the catalog of releases with their image digests, and
// constructors of the base manifests of every release.
//
// The package is pure: the CRDs of a release come in as documents, files go out as bytes. The program in
// cmd/generate does the reading and writing.
package distribution
