package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// listed is how many objects or names a list in a report has at most.
const listed = 10

// Words of distribution.status and distribution.entitlement.
const (
	installed    = "Installed"
	notInstalled = "Not Installed"
	unknown      = "Unknown"
)

// Read is something that was read, or why it could not be.
type Read[T any] struct {
	// Value is what was read.
	Value T
	// Err is why it could not be read.
	Err error
}

// Inputs are what a report says beside the objects of Flux.
type Inputs struct {
	// Now is the time of the report.
	Now time.Time
	// Namespace is where Flux and the report are.
	Namespace string
	// Instance is the FluxInstance, nil where there is none.
	Instance Read[*v1.FluxInstance]
	// Components are the controllers of Flux.
	Components Read[[]Component]
	// Cluster describes the cluster.
	Cluster Read[v1.ClusterInfo]
	// Operator describes the operator.
	Operator v1.OperatorInfo
	// Vendor is who issued the entitlement, empty where nobody did.
	Vendor string
}

// draft is a report under way.
type draft struct {
	snapshot *Snapshot
	in       Inputs
	previous *v1.FluxReportSpec
	spec     v1.FluxReportSpec
}

// Compute returns the content of the report. Parts that cannot be computed stay as they were in the previous report, and are listed as stale.
func Compute(snapshot *Snapshot, in Inputs, previous v1.FluxReportSpec) v1.FluxReportSpec {
	d := &draft{snapshot: snapshot, in: in, previous: &previous}
	d.spec.Operator = &in.Operator
	d.distribution()
	d.cluster()
	d.components()
	d.reconcilers()
	d.failing()
	d.sync()
	d.instance()
	d.sharding()
	d.outdated()
	return d.spec
}

// Condition returns the Ready condition of a report with this content. It has no time.
func Condition(spec *v1.FluxReportSpec) metav1.Condition {
	if len(spec.Stale) == 0 {
		return metav1.Condition{Type: "Ready", Status: metav1.ConditionTrue, Reason: v1.ReasonSucceeded, Message: "The report is complete"}
	}
	var problems []string
	for _, part := range spec.Stale {
		problems = append(problems, part.Part+": "+part.Message)
	}
	return metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: v1.ReasonIncomplete,
		Message: clip("Some parts of the report are old: "+strings.Join(problems, "; "), 4*messageLimit)}
}

// stale lists a part as old from now on.
func (d *draft) stale(part, message string) { d.staleSince(d.in.Now, part, message) }

// doubt lists a part as old that was made of what cannot be watched any more.
func (d *draft) doubt(part string, watched Health) {
	problem, since := watched.problem(d.in.Now), watched.Failing
	if since.IsZero() {
		since = d.in.Now
	}
	if problem != "" {
		d.staleSince(since, part, problem)
	}
}

// staleSince lists a part as old; what the previous report says of it began earlier.
func (d *draft) staleSince(began time.Time, part, message string) {
	since := metav1.NewTime(began.Truncate(time.Second))
	if i := slices.IndexFunc(d.previous.Stale, func(p v1.FluxReportPart) bool { return p.Part == part }); i >= 0 {
		since = d.previous.Stale[i].Since
	}
	d.spec.Stale = append(d.spec.Stale, v1.FluxReportPart{Part: part, Message: clip(message, messageLimit), Since: since})
}

// distribution tells which Flux is there from the definition that all of its releases have.
func (d *draft) distribution() {
	d.doubt("distribution", d.snapshot.Definitions)
	d.spec.Distribution = v1.FluxDistributionStatus{Status: notInstalled}
	if !d.snapshot.Definitions.Observed {
		d.spec.Distribution = d.previous.Distribution
		if d.spec.Distribution.Status == "" {
			d.spec.Distribution.Status = unknown
		}
	} else if kind := d.snapshot.kind(sourceGroup, "GitRepository"); kind != nil {
		d.spec.Distribution = v1.FluxDistributionStatus{Status: installed, Version: kind.Labels[versionLabel], ManagedBy: kind.Labels[managedByLabel]}
		if d.spec.Distribution.ManagedBy == "" && kind.Labels[bootstrapLabel] != "" {
			d.spec.Distribution.ManagedBy = "flux bootstrap"
		}
	}
	d.spec.Distribution.Entitlement = unknown
	if d.in.Vendor != "" {
		d.spec.Distribution.Entitlement = "Issued by " + d.in.Vendor
	}
}

func (d *draft) cluster() {
	d.spec.Cluster = &d.in.Cluster.Value
	if err := d.in.Cluster.Err; err != nil {
		d.stale("cluster", err.Error())
		d.spec.Cluster = d.previous.Cluster
	}
}

func (d *draft) components() {
	if err := d.in.Components.Err; err != nil {
		d.stale("components", err.Error())
		d.spec.ComponentsStatus = d.previous.ComponentsStatus
		return
	}
	for _, component := range d.in.Components.Value {
		d.spec.ComponentsStatus = append(d.spec.ComponentsStatus, component.FluxComponentStatus)
	}
	slices.SortFunc(d.spec.ComponentsStatus, func(a, b v1.FluxComponentStatus) int { return cmp.Compare(a.Name, b.Name) })
}

// reconcilers counts the objects of each kind.
func (d *draft) reconcilers() {
	d.doubt("reconcilers", d.snapshot.Definitions)
	if !d.snapshot.Definitions.Observed {
		d.spec.ReconcilersStatus = slices.DeleteFunc(slices.Clone(d.previous.ReconcilersStatus), func(r v1.FluxReconcilerStatus) bool {
			return d.snapshot.kind(groupOf(r.APIVersion), r.Kind) != nil
		})
	}
	for i := range d.snapshot.Kinds {
		kind := &d.snapshot.Kinds[i]
		d.doubt("reconcilers/"+kind.Kind, kind.Health)
		if kind.Observed {
			d.spec.ReconcilersStatus = append(d.spec.ReconcilersStatus, v1.FluxReconcilerStatus{APIVersion: kind.APIVersion(), Kind: kind.Kind, Stats: kind.stats()})
			continue
		}
		for _, before := range d.previous.ReconcilersStatus {
			if before.Kind == kind.Kind && groupOf(before.APIVersion) == kind.Group {
				d.spec.ReconcilersStatus = append(d.spec.ReconcilersStatus, before)
			}
		}
	}
	slices.SortFunc(d.spec.ReconcilersStatus, func(a, b v1.FluxReconcilerStatus) int {
		return cmp.Or(cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Kind, b.Kind))
	})
}

// stats counts the objects of a kind.
func (k *Kind) stats() v1.FluxReconcilerStats {
	var stats v1.FluxReconcilerStats
	var size int64
	for _, object := range k.objects {
		size += object.size
		if object.suspended {
			stats.Suspended++
			continue
		}
		stats.Running++
		if object.failing() {
			stats.Failing++
		}
	}
	stats.TotalSize = bytesText(size)
	return stats
}

// failing lists the objects that fail, the longest first; those that do not tell since when come last.
func (d *draft) failing() {
	var worst []v1.FluxFailingObject
	for i := range d.snapshot.Kinds {
		kind := &d.snapshot.Kinds[i]
		for _, object := range kind.objects {
			if object.failing() {
				worst = append(worst, v1.FluxFailingObject{
					FluxObjectReference: kind.reference(object), Reason: object.reason.Value(), Message: object.message.Value(), Since: timeOf(object.transition()),
				})
			}
		}
	}
	for _, before := range d.previous.Failing {
		if d.isUnread(before.Kind) {
			worst = append(worst, before)
		}
	}
	slices.SortFunc(worst, func(a, b v1.FluxFailingObject) int {
		return cmp.Or(compareTimes(a.Since, b.Since), compareReferences(a.FluxObjectReference, b.FluxObjectReference))
	})
	d.spec.Failing = slices.Clip(worst[:min(len(worst), listed)])
}

// isUnread tells whether the objects of a kind are not known yet, so that what the previous report says of them is the best there is.
func (d *draft) isUnread(name string) bool {
	i := slices.IndexFunc(d.snapshot.Kinds, func(k Kind) bool { return k.Kind == name })
	if i < 0 {
		return !d.snapshot.Definitions.Observed
	}
	return !d.snapshot.Kinds[i].Observed
}

// instance tells what the FluxInstance says about releases and where it has them from.
func (d *draft) instance() {
	if err := d.in.Instance.Err; err != nil {
		d.stale("upgrade", err.Error())
		d.spec.Upgrade, d.spec.Artifact = d.previous.Upgrade, d.previous.Artifact
		return
	}
	instance := d.in.Instance.Value
	if instance == nil {
		return
	}
	running, _, _ := strings.Cut(instance.Status.LastAppliedRevision, "@")
	d.spec.Upgrade = &v1.FluxUpgradeStatus{Running: running}
	if release := instance.Status.Release; release != nil {
		d.spec.Upgrade.Elected, d.spec.Upgrade.Available, d.spec.Upgrade.Message = release.Elected, release.Available, release.Message
	}
	d.spec.Artifact = instance.Status.Artifact.DeepCopy()
}

// outdated lists the API versions that should not be used any more and are.
func (d *draft) outdated() {
	for i := range d.snapshot.Kinds {
		d.spec.OutdatedVersions = append(d.spec.OutdatedVersions, d.snapshot.Kinds[i].outdated()...)
	}
	for _, before := range d.previous.OutdatedVersions {
		if d.isUnread(before.Kind) {
			d.spec.OutdatedVersions = append(d.spec.OutdatedVersions, before)
		}
	}
	slices.SortFunc(d.spec.OutdatedVersions, func(a, b v1.FluxOutdatedVersion) int {
		return cmp.Or(cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Kind, b.Kind))
	})
}

// outdated returns the outdated versions that objects of a kind are written in.
func (k *Kind) outdated() []v1.FluxOutdatedVersion {
	byVersion := map[string]*v1.FluxOutdatedVersion{}
	for _, object := range k.objects {
		counted := ""
		for line := range strings.Lines(object.writers.Value()) {
			version, manager, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if !k.isOutdated(version) {
				continue
			}
			found := byVersion[version]
			if found == nil {
				found = &v1.FluxOutdatedVersion{APIVersion: k.Group + "/" + version, Kind: k.Kind}
				byVersion[version] = found
			}
			if counted != version { // the lines of a version follow each other
				counted = version
				found.Objects++
			}
			if !slices.Contains(found.Managers, manager) {
				found.Managers = append(found.Managers, manager)
			}
		}
	}
	var all []v1.FluxOutdatedVersion
	for _, found := range byVersion {
		slices.Sort(found.Managers)
		found.Managers = slices.Clip(found.Managers[:min(len(found.Managers), listed)])
		all = append(all, *found)
	}
	return all
}

// kind finds a kind; nil where there is none.
func (s *Snapshot) kind(group, name string) *Kind {
	for i := range s.Kinds {
		if s.Kinds[i].Group == group && s.Kinds[i].Kind == name {
			return &s.Kinds[i]
		}
	}
	return nil
}

// reference names an object of the kind.
func (k *Kind) reference(object *record) v1.FluxObjectReference {
	return v1.FluxObjectReference{Kind: k.Kind, Namespace: object.namespace.Value(), Name: object.name}
}

func compareReferences(a, b v1.FluxObjectReference) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// compareTimes puts the unknown last.
func compareTimes(a, b *metav1.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	default:
		return a.Compare(b.Time)
	}
}

// timeOf returns nil for the zero time.
func timeOf(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return new(metav1.NewTime(t))
}

// groupOf is the group of an API version.
func groupOf(apiVersion string) string {
	group, _, _ := strings.Cut(apiVersion, "/")
	return group
}

// bytesText says a number of bytes for people; nothing is the empty text.
func bytesText(size int64) string {
	if size <= 0 {
		return ""
	}
	if size < 1024 {
		return fmt.Sprintf("%d B", size)
	}
	amount, units := float64(size)/1024, "KMGTPE"
	for ; amount >= 1024 && len(units) > 1; units = units[1:] {
		amount /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", amount, units[0])
}
