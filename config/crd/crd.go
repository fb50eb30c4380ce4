// Package crd holds the definitions of the operator's kinds as they are installed, for tools that judge files without a cluster.
//
// The operator itself must not import it: the API server does that work for it.
package crd

import _ "embed" // the definition is part of the package

//go:embed bases/fluxcd.controlplane.io_fluxinstances.yaml
var fluxInstance string

// FluxInstance returns the definition of the kind FluxInstance as YAML.
func FluxInstance() []byte { return []byte(fluxInstance) }
