package migrate

import (
	"fmt"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// itemAt returns the item of a list that an element of a path means. Keys that an item leaves to the API server's defaults match anything.
func itemAt(list []any, element fieldpath.PathElement) (any, bool) {
	for i, item := range list {
		switch {
		case element.Key != nil && hasKeys(item, *element.Key),
			element.Value != nil && value.Equals(value.NewValueInterface(item), *element.Value),
			element.Index != nil && *element.Index == i:
			return item, true
		}
	}
	return nil, false
}

// hasKeys tells whether an item states at least one of the keys, and none of them differently.
func hasKeys(item any, keys value.FieldList) bool {
	fields, ok := item.(map[string]any)
	if !ok {
		return false
	}
	same := 0
	for _, key := range keys {
		has, stated := fields[key.Name]
		if !stated {
			continue
		}
		if !value.Equals(value.NewValueInterface(has), key.Value) {
			return false
		}
		same++
	}
	return same > 0
}

// keyText names an item of a list by its keys. Values of sets are no names: they may be anything.
func keyText(element fieldpath.PathElement) string {
	if element.Key == nil {
		return "*"
	}
	keys := make([]string, 0, len(*element.Key))
	for _, key := range *element.Key {
		keys = append(keys, fmt.Sprint(key.Value.Unstructured()))
	}
	return strings.Join(keys, "/")
}

// defaults are what the API server sets where nobody says anything. A tool that creates or updates objects, rather than to apply them, is noted as
// the manager of these, too; nothing is lost when they are set again.
var defaults = map[string][]string{
	"apiVersion":                    {"v1"},
	"clusterIP":                     nil,
	"clusterIPs":                    nil,
	"creationTimestamp":             {"<nil>"},
	"defaultMode":                   {"420"},
	"dnsPolicy":                     {"ClusterFirst"},
	"failureThreshold":              {"3"},
	"finalizers":                    {"kubernetes"}, // of a Namespace
	"force":                         {"false"},
	"imagePullPolicy":               {"IfNotPresent"},
	"internalTrafficPolicy":         {"Cluster"},
	"ipFamilies":                    nil,
	"ipFamilyPolicy":                {"SingleStack"},
	"maxSurge":                      {"25%"},
	"maxUnavailable":                {"25%"},
	"periodSeconds":                 {"10"},
	"progressDeadlineSeconds":       {"600"},
	"protocol":                      {"TCP"},
	"replicas":                      {"1"},
	"restartPolicy":                 {"Always"},
	"revisionHistoryLimit":          {"10"},
	"schedulerName":                 {"default-scheduler"},
	"scheme":                        {"HTTP"},
	"sessionAffinity":               {"None"},
	"successThreshold":              {"1"},
	"terminationGracePeriodSeconds": {"30"},
	"terminationMessagePath":        {"/dev/termination-log"},
	"terminationMessagePolicy":      {"File"},
	"timeout":                       {"60s"},
	"timeoutSeconds":                {"1"},
	"type":                          {"ClusterIP", "RollingUpdate"},
}

// isDefault tells whether a field has the value that it would have anyway: nothing, or a default in it and everywhere below.
func isDefault(field string, there any) bool {
	known, listed := defaults[field]
	if listed && known == nil {
		return true // the API server allots it
	}
	switch there := there.(type) {
	case nil:
		return true
	case map[string]any:
		for key, child := range there {
			if !isDefault(key, child) {
				return false
			}
		}
		return true
	case []any:
		for _, item := range there {
			if !isDefault(field, item) {
				return false
			}
		}
		return true
	}
	for _, text := range known {
		if fmt.Sprint(there) == text {
			return true
		}
	}
	return false
}
