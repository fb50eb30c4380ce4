package bundle

import (
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// What a bundle may weigh. Larger ones come near the 1 MiB that the unpacking of a bundle can carry.
const (
	maxBundle     = 250 << 10
	maxDefinition = 100 << 10
	maxIcon       = 10 << 10
)

// Check returns a sentence for each way in which a bundle misses what the catalogs ask for; none means that they take it without a remark.
func Check(b *Bundle) []string {
	var wrong []string
	for _, check := range []func(*Bundle) []string{
		checkName, checkTexts, checkPeople, checkIcon, checkAnnotations, checkFeatures, checkMetadata, checkVersions,
		checkInstallModes, checkManifests, checkKinds, checkExamples, checkImages, checkPods, checkRules, checkFiles,
	} {
		wrong = append(wrong, check(b)...)
	}
	return wrong
}

// findings collects sentences.
type findings []string

// wantf adds a sentence unless something holds.
func (f *findings) wantf(holds bool, format string, args ...any) { //nolint:revive // flag-parameter: it is the assertion itself
	if !holds {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

func within(text string, least, most int) bool { return len(text) >= least && len(text) <= most }

func checkName(b *Bundle) []string {
	var f findings
	packageName := b.Annotations[annotationPackage]
	f.wantf(b.CSV.Name == packageName+".v"+b.Version(), "the name %q is not the package %q, .v and the version %q", b.CSV.Name, packageName, b.Version())
	f.wantf(len(b.CSV.Name) <= 63, "the name %q has more than 63 characters", b.CSV.Name)
	_, err := semver.StrictNewVersion(b.Version())
	f.wantf(err == nil, "the version %q is no semantic version", b.Version())
	_, err = semver.NewConstraint(b.CSV.Annotations["olm.skipRange"])
	f.wantf(err == nil, "olm.skipRange %q is no range", b.CSV.Annotations["olm.skipRange"])
	f.wantf(b.CSV.Spec.Replaces == "" || strings.HasPrefix(b.CSV.Spec.Replaces, packageName+".v"), "it replaces %q, which is no version of it", b.CSV.Spec.Replaces)
	f.wantf(b.CSV.Spec.Replaces != b.CSV.Name, "it replaces itself")
	return f
}

func checkTexts(b *Bundle) []string {
	var f findings
	spec := b.CSV.Spec
	f.wantf(within(spec.DisplayName, 3, 50), "displayName has not 3 to 50 characters")
	f.wantf(len(spec.Description) >= 20, "description has less than 20 characters")
	f.wantf(len(spec.Keywords) > 0, "there are no keywords")
	f.wantf(within(b.CSV.Annotations["description"], 10, 135), "the annotation description has not 10 to 135 characters, of which catalogs show that many")
	return f
}

func checkPeople(b *Bundle) []string {
	var f findings
	spec := b.CSV.Spec
	f.wantf(len(spec.Provider.Name) >= 3, "provider has no name")
	f.wantf(len(spec.Maintainers) > 0, "there are no maintainers")
	for _, maintainer := range spec.Maintainers {
		_, err := mail.ParseAddress(maintainer.Email)
		f.wantf(err == nil && maintainer.Name != "", "a maintainer has no name or no address: %q %q", maintainer.Name, maintainer.Email)
	}
	f.wantf(len(spec.Links) > 0, "there are no links")
	for _, link := range spec.Links {
		f.wantf(isWeb(link.URL) && link.Name != "", "a link has no name or no address: %q %q", link.Name, link.URL)
	}
	return f
}

func isWeb(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && strings.HasPrefix(parsed.Scheme, "http") && parsed.Host != ""
}

func checkIcon(b *Bundle) []string {
	var f findings
	f.wantf(len(b.CSV.Spec.Icon) > 0, "there is no icon")
	for _, icon := range b.CSV.Spec.Icon {
		kinds := []string{"image/png", "image/jpeg", "image/gif", "image/svg+xml"}
		f.wantf(slices.Contains(kinds, icon.MediaType), "an icon is %q, which is none of %v", icon.MediaType, kinds)
		f.wantf(within(string(icon.Data), 1, maxIcon), "an icon has not 1 to %d bytes", maxIcon)
	}
	return f
}

// levels are the capability levels, lowest first; categories are those that catalogs sort operators into.
var (
	levels     = []string{"Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"}
	categories = []string{
		"AI/Machine Learning", "Application Runtime", "Big Data", "Cloud Provider", "Database", "Developer Tools", "Drivers and plugins",
		"Integration & Delivery", "Logging & Tracing", "Modernization & Migration", "Monitoring", "Networking", "OpenShift Optional", "Security",
		"Storage", "Streaming & Messaging", "Observability",
	}
	imageReference = regexp.MustCompile(`^[a-z0-9.:-]+/[a-z0-9._/-]+(:[\w][\w.-]*)?(@sha256:[0-9a-f]{64})?$`)
)

func checkAnnotations(b *Bundle) []string {
	var f findings
	a := b.CSV.Annotations
	f.wantf(slices.Contains(levels, a["capabilities"]), "the annotation capabilities is %q, which is none of %v", a["capabilities"], levels)
	for category := range strings.SplitSeq(a["categories"], ",") {
		f.wantf(slices.Contains(categories, strings.TrimSpace(category)), "the annotation categories has %q, which is none of them", category)
	}
	_, err := time.Parse(time.RFC3339, a["createdAt"])
	f.wantf(err == nil, "the annotation createdAt is %q and no time", a["createdAt"])
	f.wantf(isWeb(a["repository"]), "the annotation repository is %q and no address", a["repository"])
	f.wantf(a["support"] != "", "the annotation support is missing")
	f.wantf(imageReference.MatchString(a["containerImage"]), "the annotation containerImage is %q and no image", a["containerImage"])
	f.wantf(a["operatorframework.io/suggested-namespace"] != "", "the annotation operatorframework.io/suggested-namespace is missing")
	f.wantf(b.CSV.Labels["operatorframework.io/os.linux"] == "supported", "the label operatorframework.io/os.linux is missing")
	architectures := 0
	for label := range b.CSV.Labels {
		if strings.HasPrefix(label, "operatorframework.io/arch.") {
			architectures++
		}
	}
	f.wantf(architectures > 0, "no label operatorframework.io/arch.* says for which processors there are images")
	return f
}

const featurePrefix = "features.operators.openshift.io/"

func checkFeatures(b *Bundle) []string {
	var f findings
	for _, feature := range []string{"disconnected", "fips-compliant", "proxy-aware", "tls-profiles", "token-auth-aws", "token-auth-azure", "token-auth-gcp"} {
		value := b.CSV.Annotations[featurePrefix+feature]
		f.wantf(value == "true" || value == "false", "the annotation %s%s is %q, neither true nor false", featurePrefix, feature, value)
	}
	return f
}

const (
	annotationBundle  = "operators.operatorframework.io.bundle."
	annotationPackage = annotationBundle + "package.v1"
	annotationModes   = "com.redhat.openshift.versions"
)

func checkMetadata(b *Bundle) []string {
	var f findings
	for key, want := range map[string]string{
		annotationBundle + "mediatype.v1":                     "registry+v1",
		annotationBundle + "manifests.v1":                     "manifests/",
		annotationBundle + "metadata.v1":                      "metadata/",
		annotationBundle + "channel.default.v1":               "stable",
		"operators.operatorframework.io.test.mediatype.v1":    "scorecard+v1",
		"operators.operatorframework.io.test.config.v1":       "tests/scorecard/",
		"operators.operatorframework.io.metrics.mediatype.v1": "metrics+v1",
	} {
		f.wantf(b.Annotations[key] == want, "metadata says %q of %s and not %q", b.Annotations[key], key, want)
	}
	name := regexp.MustCompile(`^(stable|fast|candidate)[\w.-]*$`)
	for channel := range strings.SplitSeq(b.Annotations[annotationBundle+"channels.v1"], ",") {
		f.wantf(name.MatchString(channel), "the channel %q does not begin with stable, fast or candidate", channel)
	}
	_, hasScorecard := b.Sizes["tests/scorecard/config.yaml"]
	f.wantf(hasScorecard, "there is no tests/scorecard/config.yaml")
	slices.Sort(f)
	return f
}

// OpenShiftSince returns the versions of OpenShift from one on that have a catalog, oldest first.
func OpenShiftSince(oldest string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(openShift)), func(version string) bool { return version < oldest })
}

// openShift maps each version of OpenShift to the Kubernetes in it.
var openShift = map[string]string{
	"v4.16": "1.29.0", "v4.17": "1.30.0", "v4.18": "1.31.0", "v4.19": "1.32.0", "v4.20": "1.33.0", "v4.21": "1.34.0", "v4.22": "1.35.0",
}

func checkVersions(b *Bundle) []string {
	var f findings
	oldest := b.Annotations[annotationModes]
	kubernetes, known := openShift[oldest]
	f.wantf(known, "%s is %q and not one of %v, from which on it is offered", annotationModes, oldest, slices.Sorted(maps.Keys(openShift)))
	needed, err := semver.StrictNewVersion(b.CSV.Spec.MinKubeVersion)
	f.wantf(err == nil, "minKubeVersion is %q and not of the form 1.2.3", b.CSV.Spec.MinKubeVersion)
	if known && err == nil {
		f.wantf(!needed.GreaterThan(semver.MustParse(kubernetes)), "it is offered on OpenShift %s, whose Kubernetes %s is older than minKubeVersion %s",
			oldest, kubernetes, needed)
	}
	return f
}

func checkInstallModes(b *Bundle) []string {
	var f findings
	modes := map[string]bool{}
	for _, mode := range b.CSV.Spec.InstallModes {
		modes[mode.Type] = mode.Supported
	}
	f.wantf(len(modes) == 4, "not all four install modes are there: %v", slices.Sorted(maps.Keys(modes)))
	f.wantf(modes["AllNamespaces"], "the install mode AllNamespaces is not supported, the only one there will be")
	f.wantf(len(b.CSV.Spec.Webhooks) == 0, "it has webhooks, which not every lifecycle manager installs")
	return f
}

func checkFiles(b *Bundle) []string {
	var f findings
	for _, name := range b.Untidy {
		f.wantf(false, "%s has a line that ends in a blank, or no end at its last line", name)
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(b.Sizes)) {
		size := b.Sizes[name]
		total += size
		f.wantf(size <= maxDefinition, "%s has %d bytes, more than %d", name, size, maxDefinition)
	}
	f.wantf(total <= maxBundle, "the bundle has %d bytes, more than %d", total, maxBundle)
	return f
}
