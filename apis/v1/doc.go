// Package v1 is the public API of the operator, the words users say: kinds, defaults, validation rules, condition types and reasons.
//
// The group is fluxcd.controlplane.io and its wire format is a contract: names, defaults and enums are only ever added to.
//
// +kubebuilder:object:generate=true
// +groupName=fluxcd.controlplane.io
package v1
