package e2e

import (
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

	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
)

func lookingBack() {
	It("was never refused anything, with no rights but those of its own roles", func(ctx context.Context) {
		Expect(rolesOfOperator(ctx)).To(ConsistOf("ClusterRole/flux-operator", "Role/flux-operator"))
		requests, err := here.Requests(site.OperatorUser, began)
		must(err)
		Expect(requests).NotTo(BeEmpty())
		var refused []string
		for _, r := range requests {
			if r.Code == http.StatusForbidden || r.Code == http.StatusUnauthorized {
				refused = append(refused, fmt.Sprintf("%s %s: %d", r.Verb, r.URI, r.Code))
			}
		}
		Expect(refused).To(BeEmpty())
	})

	It("reports the rights that this suite did not need", func(ctx context.Context) {
		requests, err := here.Requests(site.OperatorUser, began)
		must(err)
		used := map[grant]bool{}
		for _, r := range requests {
			for _, g := range grantsOf(r) {
				used[g] = true
			}
		}
		clusterRole := get(ctx, client.ObjectKey{Name: site.OperatorName}, &rbacv1.ClusterRole{})
		role := get(ctx, key(site.OperatorName), &rbacv1.Role{})
		var report []string
		for _, rule := range slices.Concat(clusterRole.Rules, role.Rules) {
			report = append(report, unused(rule, used)...)
		}
		text := fmt.Sprintf("%d requests, %d rights never used:\n%s", len(requests), len(report), strings.Join(report, "\n"))
		AddReportEntry("rights of the operator that this suite did not need", text, ReportEntryVisibilityAlways)
	})
}

// rolesOfOperator are the roles that the operator's service account is bound to.
func rolesOfOperator(ctx context.Context) []string {
	GinkgoHelper()
	var found []string
	add := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Name == site.OperatorName && s.Namespace == site.Namespace || s.Name == site.OperatorUser
		}) {
			found = append(found, ref.Kind+"/"+ref.Name)
		}
	}
	everywhere, within := &rbacv1.ClusterRoleBindingList{}, &rbacv1.RoleBindingList{}
	must(here.Client.List(ctx, everywhere))
	must(here.Client.List(ctx, within))
	for _, binding := range everywhere.Items {
		add(binding.RoleRef, binding.Subjects)
	}
	for _, binding := range within.Items {
		add(binding.RoleRef, binding.Subjects)
	}
	return found
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

// unused lists what a rule grants that was not used. That escalate and bind were used cannot be seen in requests.
func unused(rule rbacv1.PolicyRule, used map[grant]bool) []string {
	var lines []string
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			var verbs []string
			for _, verb := range rule.Verbs {
				if !anyUsed(grant{group, resource, verb}, used) && verb != "escalate" && verb != "bind" {
					verbs = append(verbs, verb)
				}
			}
			if len(verbs) > 0 {
				lines = append(lines, fmt.Sprintf("  %s of %s in group %q", strings.Join(verbs, ", "), resource, group))
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
