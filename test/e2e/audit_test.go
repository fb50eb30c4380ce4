package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
)

func lookingBack() {
	It("was never refused anything, with no rights but those of its own roles", func(ctx context.Context) {
		Expect(rolesOfOperator(ctx)).To(ConsistOf(here.RoleNames()))
		requests, err := here.Requests(site.OperatorUser, began)
		must(err)
		Expect(requests).NotTo(BeEmpty())
		var refused []string
		for _, r := range requests {
			isStranger := strings.HasPrefix(r.URI, "/apis/"+strangerGroup+"/") // a kind that it may not read, to see that it says so
			if !isStranger && (r.Code == http.StatusForbidden || r.Code == http.StatusUnauthorized) {
				refused = append(refused, fmt.Sprintf("%s %s: %d", r.Verb, r.URI, r.Code))
			}
		}
		Expect(refused).To(BeEmpty())
	})

	It("needed every right, but for those that are explained", func(ctx context.Context) {
		if config, _ := GinkgoConfiguration(); len(config.FocusStrings) > 0 {
			Skip("a part of the suite does not need all rights")
		}
		requests, err := here.Requests(site.OperatorUser, began)
		must(err)
		used := map[grant]bool{}
		for _, r := range requests {
			for _, g := range grantsOf(r) {
				used[g] = true
			}
		}
		var useless []string
		for _, rule := range rulesOfOperator(ctx) {
			useless = append(useless, unused(rule, used)...)
		}
		Expect(useless).To(BeEmpty(), "rights that %d requests did not need", len(requests))
	})
}

// exception is why rights stay that no request of a whole run needs. Resources and verbs are lists of words.
type exception struct{ why, group, resources, verbs string }

func exceptions() []exception {
	return []exception{
		{"API servers that do not stream lists", "", "namespaces persistentvolumeclaims", "list"},
		{"API servers that do not stream lists", v1.GroupVersion.Group, "fluxreports", "list"},
		{"what is cached is read one by one where the cache is passed by", v1.GroupVersion.Group, "fluxinstances fluxreports", "get"},
		{"OpenShift asks for it before it takes a finalizer", v1.GroupVersion.Group, "fluxinstances/finalizers", "update"},
		{"kinds of another operator, which is not here", v1.GroupVersion.Group, "resourcesets resourcesetinputproviders", "get list watch"},
		{"the fleet has no objects of these, which an uninstall would release", "source.extensions.fluxcd.io", "*", "get patch"},
		{"what cannot be rewritten is read once more", "helm.toolkit.fluxcd.io", "*", "get"},
		{"what cannot be rewritten is read once more", "notification.toolkit.fluxcd.io", "*", "get"},
		{"what cannot be rewritten is read once more", "image.toolkit.fluxcd.io", "*", "get"},
		{"a kind that is not here", "autoscaling.k8s.io", "verticalpodautoscalers", "list"},
		{"a pod that missed its signal, which cannot be had at will", "", "pods", "delete"},
		{"an identity of a cloud, which is not here", "", "serviceaccounts/token", "create"},
		{"what OpenShift has, which the suite of the controllers has", "config.openshift.io", "proxies", "get"},
		{"what OpenShift has, which the suite of the controllers has", "console.openshift.io", "consoleyamlsamples consolequickstarts consolelinks", "create patch delete"},
		{"authorities of OpenShift or of the user, which the suite of the controllers has", "", "configmaps", "get watch patch"},
		{"the lifecycle manager gives it to every operator", "operators.coreos.com", "operatorconditions", "get update patch"},
		{"what requests need of these cannot be seen in them", rbacv1.GroupName, "clusterroles", "escalate bind"},
	}
}

// isExplained says whether a right is among the exceptions.
func isExplained(right grant) bool {
	return slices.ContainsFunc(exceptions(), func(e exception) bool {
		return e.group == right.group && slices.Contains(strings.Fields(e.resources), right.resource) && slices.Contains(strings.Fields(e.verbs), right.verb)
	})
}

// rolesOfOperator are the roles that the operator's service account is bound to.
func rolesOfOperator(ctx context.Context) []string {
	GinkgoHelper()
	var found []string
	add := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespace string) {
		if slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Name == site.OperatorName && cmp.Or(s.Namespace, namespace) == site.Namespace || s.Name == site.OperatorUser
		}) {
			found = append(found, ref.Kind+"/"+ref.Name)
		}
	}
	everywhere, within := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	must(here.Client.List(ctx, everywhere))
	must(here.Client.List(ctx, within))
	for _, binding := range everywhere.Items {
		add(binding.RoleRef, binding.Subjects, binding.Namespace)
	}
	for _, binding := range within.Items {
		add(binding.RoleRef, binding.Subjects, binding.Namespace)
	}
	return found
}

// rulesOfOperator are the rules of these roles.
func rulesOfOperator(ctx context.Context) []rbacv1.PolicyRule {
	GinkgoHelper()
	var rules []rbacv1.PolicyRule
	for _, role := range rolesOfOperator(ctx) {
		kind, name, _ := strings.Cut(role, "/")
		if kind == "ClusterRole" {
			rules = append(rules, get(ctx, client.ObjectKey{Name: name}, &rbacv1.ClusterRole{}).Rules...)
			continue
		}
		rules = append(rules, get(ctx, key(name), &rbacv1.Role{}).Rules...)
	}
	return rules
}

// grant is one right: a verb on a resource.
type grant struct{ group, resource, verb string }

// grantsOf are the rights that a request needed. Applying an object that does not exist needs create besides patch.
func grantsOf(r testbed.Request) []grant {
	path, err := url.Parse(r.URI)
	if err != nil {
		return nil
	}
	parts := strings.Split(strings.Trim(path.Path, "/"), "/")
	g := grant{verb: r.Verb}
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		g.group, parts = parts[1], parts[3:]
	default:
		return nil
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	g.resource = parts[0]
	if len(parts) > 2 {
		g.resource += "/" + parts[2]
	}
	if r.Verb == "patch" && r.Code == http.StatusCreated {
		return []grant{g, {g.group, g.resource, "create"}}
	}
	return []grant{g}
}

// unused lists what a rule grants that was neither used nor is explained.
func unused(rule rbacv1.PolicyRule, used map[grant]bool) []string {
	var lines []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if right := (grant{group, resource, verb}); !anyUsed(right, used) && !isExplained(right) {
					lines = append(lines, fmt.Sprintf("%s of %s in group %q", verb, resource, group))
				}
			}
		}
	}
	return lines
}

func anyUsed(right grant, used map[grant]bool) bool {
	for g := range used {
		if g.group == right.group && g.verb == right.verb && (right.resource == "*" || g.resource == right.resource) {
			return true
		}
	}
	return false
}
