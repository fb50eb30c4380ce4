package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

// Outcome is how a check ended: PASSED, FAILED, WARNING or ERROR.
type Outcome string

// Passed is the outcome to wish for.
const Passed Outcome = "PASSED"

// Verdict is what a check of openshift-preflight says.
type Verdict struct {
	// Check is its name.
	Check string
	// Outcome is what came out.
	Outcome Outcome
}

// unanswered are the checks whose answer means nothing here, and why.
var unanswered = map[string]string{
	"ScorecardBasicSpecCheck":     "runs pods; make scorecard runs the same test without",
	"ScorecardOlmSuiteCheck":      "runs pods; make scorecard runs the same tests without",
	"DeployableByOLM":             "needs a cluster; the end-to-end suite of the lifecycle manager is that",
	"BundleImageRefsAreCertified": "asks Red Hat's service",
	"BasedOnUbi":                  "the image has no base: nothing in it but the program, certificates, licences and data",
	"HasModifiedFiles":            "compares with the packages of a base, of which there are none",
	"HasNoProhibitedPackages":     "reads the list of packages of a base, of which there are none",
}

// Unanswered tells why the outcome of a check means nothing without a cluster, Red Hat's services and a base image.
func (v Verdict) Unanswered() (string, bool) {
	why, known := unanswered[v.Check]
	return why, known
}

// Preflight runs the checks of openshift-preflight on the image of the operator, in an OCI layout, and on the bundle in a folder. Both are served by
// a registry that lives as long as the call.
func Preflight(ctx context.Context, program, imageDir, bundleDir string) ([]Verdict, error) {
	operator, err := OnlyImage(imageDir)
	if err != nil {
		return nil, err
	}
	packed, err := Image(bundleDir)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx) // ends the registry
	defer stop()
	server, err := registry.Serve(ctx, registry.Options{})
	if err != nil {
		return nil, err
	}
	var all []Verdict
	for _, subject := range []struct {
		kind, name string
		what       mutate.Appendable
	}{{"container", "flux-operator", operator}, {"operator", "flux-operator-bundle", packed}} {
		ref := server.Addr + "/flux-autopilot/" + subject.name + ":checked"
		if _, err := image.Push(ctx, subject.what, ref); err != nil {
			return nil, err
		}
		verdicts, err := preflight(ctx, program, subject.kind, ref)
		if err != nil {
			return nil, err
		}
		all = append(all, verdicts...)
	}
	return all, nil
}

// OnlyImage returns the index of the image in a layout, beside which there may be what is attached to it.
func OnlyImage(dir string) (v1.ImageIndex, error) {
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the image layout %q: %w", dir, err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the image layout %q: %w", dir, err)
	}
	for _, described := range manifest.Manifests {
		if described.MediaType.IsIndex() {
			return root.ImageIndex(described.Digest)
		}
	}
	return nil, fmt.Errorf("reading the image layout %q: it has no image for several platforms", dir)
}

// nowhere is the configuration of a cluster that does not answer.
const nowhere = `apiVersion: v1
kind: Config
current-context: nowhere
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {}}]
`

// preflight runs the checks of one kind in a folder of its own, where the tool leaves its log and its results.
func preflight(ctx context.Context, program, kind, ref string) ([]Verdict, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, fmt.Errorf("finding preflight: %w", err)
	}
	work, err := os.MkdirTemp("", "preflight-*")
	if err != nil {
		return nil, fmt.Errorf("making a folder for preflight: %w", err)
	}
	defer os.RemoveAll(work)
	kubeconfig := filepath.Join(work, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(nowhere), 0o600); err != nil {
		return nil, fmt.Errorf("writing the configuration of a cluster: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "check", kind, ref)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "HOME="+work, "KUBECONFIG="+kubeconfig, "PFLT_INDEXIMAGE="+ref, "PFLT_LOGLEVEL=info", "PFLT_LOGFILE=preflight.log")
	messages, failure := cmd.CombinedOutput()
	log, err := os.ReadFile(filepath.Join(work, "preflight.log"))
	if err != nil {
		return nil, fmt.Errorf("running preflight check %s: %w: %s", kind, errors.Join(failure, err), bytes.TrimSpace(messages))
	}
	verdicts := readVerdicts(log)
	if len(verdicts) == 0 {
		return nil, fmt.Errorf("running preflight check %s: no check ran (%w): %s", kind, failure, bytes.TrimSpace(messages))
	}
	return verdicts, nil
}

// completed is a line of the log. Only the log has all checks: those that are not enforced yet are not among the results.
var completed = regexp.MustCompile(`msg="check completed" check=(\w+) .*result=([A-Z]+)`)

// readVerdicts reads the log, in which there is a line for each platform of an image. A check with the same outcome on all is there once.
func readVerdicts(log []byte) []Verdict {
	var verdicts []Verdict
	for _, line := range completed.FindAllSubmatch(log, -1) {
		verdicts = append(verdicts, Verdict{string(line[1]), Outcome(line[2])})
	}
	slices.SortFunc(verdicts, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Outcome, b.Outcome))
	})
	return slices.Compact(verdicts)
}
