package render

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Words in place of the name of a ConfigMap with authorities that the controllers are to trust.
const (
	// AutomaticTrustedCA stands for those that an OpenShift cluster trusts, where it trusts any besides the public ones.
	AutomaticTrustedCA = "auto"
	// NoTrustedCA trusts none but those in the images.
	NoTrustedCA = "none"
)

// ClusterCA is the name of the ConfigMap that OpenShift fills in.
const ClusterCA = "flux-trusted-ca"

// ProxyFromEnvironment reads the proxy that the operator itself was given: by the Operator Lifecycle Manager where the cluster has one, by a
// Subscription, or in its Deployment. As in Go's own programs, the upper case names come first.
func ProxyFromEnvironment(lookup func(string) (string, bool)) Proxy {
	read := func(name string) string {
		if value, _ := lookup(name); value != "" {
			return value
		}
		value, _ := lookup(strings.ToLower(name))
		return value
	}
	return Proxy{HTTP: read("HTTP_PROXY"), HTTPS: read("HTTPS_PROXY"), No: read("NO_PROXY")}
}

// RelatedImagesFromEnvironment reads where the images of Flux are that came with the operator, the image of source-controller from
// RELATED_IMAGE_SOURCE_CONTROLLER. The bundle for the Operator Lifecycle Manager sets these variables.
func RelatedImagesFromEnvironment(lookup func(string) (string, bool)) RelatedImages {
	images := RelatedImages{}
	for _, component := range knownComponents() {
		if image, ok := lookup("RELATED_IMAGE_" + strings.ToUpper(strings.ReplaceAll(string(component), "-", "_"))); ok {
			images[component] = image
		}
	}
	return images
}

// TrustedCADigest is that of the certificates in the data of a ConfigMap, empty while there are none.
func TrustedCADigest(data map[string]string) string {
	certificates := data[TrustedCAKey]
	if strings.TrimSpace(certificates) == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(certificates))
	return "sha256:" + hex.EncodeToString(sum[:])
}
