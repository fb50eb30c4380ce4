package controllers

import "github.com/flux-autopilot/flux-operator/pkg/render"

// Proxy is what the operator was given to reach the outside.
type Proxy = render.Proxy

// RelatedImages are those that came with the operator.
type RelatedImages = render.RelatedImages

// AutomaticTrustedCA stands for the authorities that an OpenShift cluster trusts.
const AutomaticTrustedCA = render.AutomaticTrustedCA

// ProxyFromEnvironment reads the proxy of the operator itself.
func ProxyFromEnvironment(lookup func(string) (string, bool)) Proxy {
	return render.ProxyFromEnvironment(lookup)
}

// RelatedImagesFromEnvironment reads the images that the bundle for the Operator Lifecycle Manager names.
func RelatedImagesFromEnvironment(lookup func(string) (string, bool)) RelatedImages {
	return render.RelatedImagesFromEnvironment(lookup)
}
