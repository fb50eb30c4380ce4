package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// maxFields is how many fields of an object are listed for one manager.
	maxFields = 20
	// maxField bounds the text of one field, in bytes.
	maxField = 120
)

// lossFinder finds what others have set on live objects and the wanted ones do not have.
type lossFinder struct {
	// managers are taken over from besides the known ones.
	managers []string
}

// find compares one object, manager by manager. Managed fields that cannot be read tell of nothing.
func (l lossFinder) find(want, live *unstructured.Unstructured) []v1.AdoptionLoss {
	fields := map[string]map[string]bool{}
	told := map[string]bool{}
	for _, entry := range live.GetManagedFields() {
		if !isTaken(entry, l.managers) || entry.FieldsV1 == nil {
			continue
		}
		lost, err := lostFields(entry, want, live)
		if err != nil {
			continue
		}
		for _, field := range lost {
			if told[field] {
				continue
			}
			told[field] = true
			if fields[entry.Manager] == nil {
				fields[entry.Manager] = map[string]bool{}
			}
			fields[entry.Manager][field] = true
		}
	}
	losses := make([]v1.AdoptionLoss, 0, len(fields))
	for manager, lost := range fields {
		sorted := slices.Sorted(maps.Keys(lost))
		losses = append(losses, v1.AdoptionLoss{Object: nameOf(live), Manager: clip(manager), Fields: sorted[:min(len(sorted), maxFields)]})
	}
	return losses
}

// lostFields returns the fields of an entry that would be lost, as text.
func lostFields(entry metav1.ManagedFieldsEntry, want, live *unstructured.Unstructured) ([]string, error) {
	owned := fieldpath.NewSet()
	if err := owned.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil, err
	}
	var lost []string
	owned.Iterate(func(path fieldpath.Path) {
		if isConcerned(path) {
			lost = append(lost, compareAt(path, want.Object, live.Object)...)
		}
	})
	return lost, nil
}

// isConcerned tells whether a field may hold a setting: of the metadata only labels, annotations and finalizers do.
func isConcerned(path fieldpath.Path) bool {
	switch name(path, 0) {
	case "status", "apiVersion", "kind":
		return false
	case "metadata":
		return len(path) > 2 && slices.Contains([]string{"labels", "annotations", "finalizers"}, name(path, 1)) && !isMark(name(path, len(path)-1))
	}
	for i := range path {
		if isKeyed(path, i) && isMark(name(path, i+1)) {
			return false
		}
	}
	return true
}

// markPrefixes begin the keys of labels and annotations by which tools know their objects and releases their parts.
var markPrefixes = []string{
	"app.kubernetes.io/", "helm.sh/", "meta.helm.sh/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "argocd.argoproj.io/",
	"kubectl.kubernetes.io/", "deployment.kubernetes.io/", "pod-security.kubernetes.io/", "kubernetes.io/", v1.Group + "/",
}

func isMark(key string) bool {
	return slices.ContainsFunc(markPrefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// name returns the field name at a position of a path, empty where there is none.
func name(path fieldpath.Path, i int) string {
	if i < 0 || i >= len(path) || path[i].FieldName == nil {
		return ""
	}
	return *path[i].FieldName
}

// compareAt follows a path through both objects and returns what is lost there: the outermost field that the wanted object lacks, arguments of
// a list, or the field itself where it is a setting with another value.
func compareAt(path fieldpath.Path, want, live any) []string {
	for i, element := range path {
		there, found := childAt(live, element)
		if !found {
			return nil // managed, but set by nobody any more
		}
		stated, wanted := childAt(want, element)
		if !wanted && !isKeyed(path, i) {
			if isDefault(name(path, i), there) || isAlias(path[:i+1], live, want) || isReleased(there) {
				return nil
			}
			return []string{textOf(path[:i+1])}
		}
		want, live = stated, there
	}
	return changedAt(path, want, live)
}

// isKeyed tells whether a field holds labels or annotations, of which each is a setting of its own.
func isKeyed(path fieldpath.Path, i int) bool {
	return name(path, i) == "labels" || name(path, i) == "annotations"
}

// isAlias tells whether a field repeats another one under a name of old, or says what the wanted object says in another one.
func isAlias(path fieldpath.Path, live, want any) bool {
	fields, _ := live.(map[string]any)
	wanted, _ := want.(map[string]any)
	switch name(path, len(path)-1) {
	case "serviceAccount":
		return fields["serviceAccountName"] == fields["serviceAccount"]
	case "branch":
		return wanted["name"] == fmt.Sprintf("refs/heads/%v", fields["branch"])
	case "tag":
		return wanted["name"] == fmt.Sprintf("refs/tags/%v", fields["tag"])
	}
	return false
}

// isReleased tells whether earlier releases brought what later ones do without: the number of threads is an environment variable up to Flux 2.6.
func isReleased(item any) bool {
	variable, _ := item.(map[string]any)
	_, derived := variable["valueFrom"]
	return derived && variable["name"] == "GOMAXPROCS"
}

// changedAt returns what is lost of a field that both objects have. That most values differ is due to the release; those of arguments, resources
// and replicas are what people set.
func changedAt(path fieldpath.Path, want, live any) []string {
	switch {
	case name(path, len(path)-1) == "args":
		return lostArgs(path, want, live)
	case len(path) == 2 && name(path, 0) == "spec" && name(path, 1) == "replicas":
		if !sameQuantity(want, live) {
			return []string{textOf(path)}
		}
	case len(path) > 3 && name(path, len(path)-3) == "resources" && !sameQuantity(want, live):
		return []string{textOf(path)}
	}
	return nil
}

// sameQuantity tells whether two values mean the same amount. What is no amount is the same as anything.
func sameQuantity(a, b any) bool {
	amount := func(value any) (resource.Quantity, bool) {
		switch value := value.(type) {
		case string:
			q, err := resource.ParseQuantity(value)
			return q, err == nil
		case int64:
			return *resource.NewQuantity(value, resource.DecimalSI), true
		case float64:
			return *resource.NewQuantity(int64(value), resource.DecimalSI), true
		}
		return resource.Quantity{}, false
	}
	x, ok := amount(a)
	y, also := amount(b)
	return !ok || !also || x.Cmp(y) == 0
}

// childAt returns what a value has at one element of a path.
func childAt(node any, element fieldpath.PathElement) (any, bool) {
	switch node := node.(type) {
	case map[string]any:
		if element.FieldName != nil {
			child, found := node[*element.FieldName]
			return child, found
		}
	case []any:
		return itemAt(node, element)
	}
	return nil, false
}

// cut shortens a text to what is listed.
func cut(text string) string {
	if len(text) <= maxField {
		return text
	}
	end := maxField
	for end > 0 && text[end]&0xC0 == 0x80 {
		end--
	}
	return text[:end] + "…"
}

// textOf writes a path as users know it: .spec.template.spec.containers[manager].env[FOO].
func textOf(path fieldpath.Path) string {
	var b strings.Builder
	for i, element := range path {
		switch {
		case element.FieldName != nil && isKeyed(path, i-1):
			b.WriteString("[" + *element.FieldName + "]")
		case element.FieldName != nil:
			b.WriteString("." + *element.FieldName)
		default:
			b.WriteString("[" + keyText(element) + "]")
		}
	}
	return cut(b.String())
}

// lostArgs returns the arguments that the live list has and the wanted one has not, or has with another value.
func lostArgs(path fieldpath.Path, want, live any) []string {
	wanted := map[string]string{}
	for _, arg := range texts(want) {
		flag, text, _ := strings.Cut(arg, "=")
		wanted[flag] = text
	}
	var lost []string
	for _, arg := range texts(live) {
		flag, text, _ := strings.Cut(arg, "=")
		if value, stated := wanted[flag]; stated && (value == text || isWiring(flag)) {
			continue
		}
		if isSecret(flag) {
			arg = flag + "=…"
		}
		lost = append(lost, cut(textOf(path)+"["+cmp.Or(arg, "\"\"")+"]"))
	}
	return lost
}

// isWiring tells whether an argument says where the parts of Flux find each other, which is for the release and the instance to say.
func isWiring(flag string) bool {
	return flag == "--events-addr" || flag == "--storage-adv-addr"
}

// isSecret tells from the name of an argument whether its value may be nobody's business.
func isSecret(flag string) bool {
	flag = strings.ToLower(flag)
	return slices.ContainsFunc([]string{"token", "password", "secret", "key", "credential"}, func(word string) bool { return strings.Contains(flag, word) })
}

// texts returns the strings of a list.
func texts(list any) []string {
	items, _ := list.([]any)
	found := make([]string, 0, len(items))
	for _, item := range items {
		if text, ok := item.(string); ok {
			found = append(found, text)
		}
	}
	return found
}
