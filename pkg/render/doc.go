// Package render turns a release of Flux and a FluxInstance into the final objects to apply: same input, same bytes.
//
// It reads nothing but the file tree it is given, sets values on parsed objects instead of writing YAML, and names what it changes:
// a container by its name, an argument by its flag, a rule by its resource. Where the thing to change is missing it fails and says
// so, because a release that is laid out otherwise must never be changed in the wrong place.
package render
