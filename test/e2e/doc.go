// Package e2e proves the operator's main job on a real node: as a pod, with the rights that its own manifests give it and no others.
package e2e
