package render

import (
	"fmt"
	"io/fs"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Platform is what a set depends on besides the release and the instance: where the controllers run, and what the operator hands on to them.
// The zero value is a cluster of which nothing is known.
type Platform struct {
	// Type of the cluster for an instance that names none, one of those that spec.cluster.type knows; kubernetes when empty.
	Type string
	// Images are those that came with the operator.
	Images RelatedImages
	// Proxy is how the controllers reach the outside.
	Proxy Proxy
	// TrustedCA holds authorities that the controllers trust.
	TrustedCA TrustedCA
}

// OpenShiftGroup is the API group that tells OpenShift from other clusters: it holds the security context constraints, which are what Flux has to
// respect there. All variants of OpenShift have them, and they are served by the API server itself: no other server has to be up to see them.
const OpenShiftGroup = "security.openshift.io"

// Proxy says through what the outside is reached, in the words of the environment variables of the same names.
type Proxy struct {
	// HTTP and HTTPS are the proxies for either scheme; empty for none.
	HTTP, HTTPS string
	// No lists the hosts that are reached directly, separated by commas.
	No string
}

// IsSet tells whether there is a proxy.
func (p Proxy) IsSet() bool { return p.HTTP != "" || p.HTTPS != "" }

// Direct returns the proxy with what is inside the cluster among the hosts that are reached directly, and some further ones. Each name stands
// there with and without a dot at its end: a client that matches names letter by letter, as Go's does, does not see that they are the same.
func (p Proxy) Direct(domain string, hosts ...string) Proxy {
	domain = strings.TrimSuffix(domain, ".")
	hosts = append(hosts, ".svc", ".svc.", "."+domain, "."+domain+".")
	seen := map[string]bool{}
	var all []string
	for _, host := range append(strings.Split(p.No, ","), hosts...) {
		host = strings.TrimSpace(host)
		if host != "" && !seen[host] {
			seen[host], all = true, append(all, host)
		}
	}
	p.No = strings.Join(all, ",")
	return p
}

// TrustedCA names a ConfigMap beside the instance that holds certificates of authorities under TrustedCAKey.
type TrustedCA struct {
	// ConfigMap is its name; empty for none.
	ConfigMap string
	// Filled says that OpenShift fills it in, which is why it is part of the set.
	Filled bool
	// Digest of the certificates; empty while there are none, and then there is nothing to trust. Pods read them when they start, so that a
	// change restarts them.
	Digest string
}

// TrustedCAKey is where certificates are in a ConfigMap, which is where OpenShift puts them.
const TrustedCAKey = "ca-bundle.crt"

const (
	// injectLabel asks OpenShift's network operator to fill a ConfigMap with the authorities that the cluster trusts.
	injectLabel = "config.openshift.io/inject-trusted-cabundle"

	trustedCAVolume = "trusted-ca"
	trustedCAPath   = "/etc/ssl/trusted-ca"
	// certificateFolders are those in which Go looks without being told, and ours: the roots of the image stay trusted.
	certificateFolders = "/etc/ssl/certs:/etc/pki/tls/certs:" + trustedCAPath
)

// Render builds the set for a platform.
//
// Fails with *FieldError where the author of the instance must change it, and with *ReleaseError where the release is broken.
func (p Platform) Render(catalog fs.FS, releaseName string, instance *v1.FluxInstance) (*Set, error) {
	if err := checkInstance(instance); err != nil {
		return nil, err
	}
	loaded, err := load(catalog, releaseName, instance)
	if err != nil {
		return nil, err
	}
	d, err := newDraft(loaded, instance)
	if err != nil {
		return nil, err
	}
	d.settle(p)
	return d.render()
}

// settle puts the draft on a platform. What the instance says of its cluster wins.
func (d *draft) settle(p Platform) {
	d.platform = p
	if stated := d.instance.Spec.Cluster; p.Type != "" && (stated == nil || stated.Type == "") {
		d.cluster.Type = p.Type
	}
}

// setProxy hands the proxy on. The controllers are Go programs, which ask for the upper case names first: a patch has one name to change.
func (d *draft) setProxy() error {
	if !d.platform.Proxy.IsSet() {
		return nil
	}
	// The kubelet puts the address of the API server in.
	const apiServer = "$(KUBERNETES_SERVICE_HOST)"
	proxy := d.platform.Proxy
	direct := Proxy{No: literal(proxy.No)}.Direct(d.domain(), apiServer)
	for _, w := range d.workloads {
		for _, variable := range [][2]string{{"HTTP_PROXY", literal(proxy.HTTP)}, {"HTTPS_PROXY", literal(proxy.HTTPS)}, {"NO_PROXY", direct.No}} {
			if variable[1] == "" {
				continue
			}
			if err := w.setEnv(variable[0], variable[1]); err != nil {
				return d.broken(w.file, err)
			}
		}
	}
	return nil
}

// literal keeps the kubelet from seeing references to other variables in a value.
func literal(value string) string { return strings.ReplaceAll(value, "$", "$$") }

// trustAuthorities lets the controllers trust further authorities, besides those in their images.
func (d *draft) trustAuthorities() error {
	trusted := d.platform.TrustedCA
	if trusted.ConfigMap == "" {
		return nil
	}
	if trusted.Filled {
		d.add(injected(trusted.ConfigMap, d.instance.Namespace))
	}
	if trusted.Digest == "" {
		return nil
	}
	for _, w := range d.workloads {
		if err := w.trust(trusted); err != nil {
			return d.broken(w.file, err)
		}
	}
	return nil
}

// injected is the ConfigMap that OpenShift fills in. Its data is not ours.
func injected(name, namespace string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("v1")
	o.SetKind("ConfigMap")
	o.SetName(name)
	o.SetNamespace(namespace)
	o.SetLabels(map[string]string{injectLabel: "true"})
	return o
}

// trust mounts the certificates and says where they are.
func (w *workload) trust(trusted TrustedCA) error {
	volumes, err := listAt(w.pod, "volumes")
	if err != nil {
		return fmt.Errorf("%s: %w", describe(w.Unstructured), err)
	}
	mounts, err := listAt(w.manager, "volumeMounts")
	if err != nil {
		return fmt.Errorf("%s, container %q: %w", describe(w.Unstructured), managerContainer, err)
	}
	w.pod["volumes"] = append(volumes, map[string]any{"name": trustedCAVolume, "configMap": map[string]any{
		"name": trusted.ConfigMap, "items": []any{map[string]any{"key": TrustedCAKey, "path": TrustedCAKey}},
	}})
	w.manager["volumeMounts"] = append(mounts, map[string]any{"name": trustedCAVolume, "mountPath": trustedCAPath, "readOnly": true})
	if err := w.setEnv("SSL_CERT_DIR", certificateFolders); err != nil {
		return err
	}
	return w.setPodMetadata("annotations", v1.TrustedCAAnnotation, trusted.Digest)
}
