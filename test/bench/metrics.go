package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// scraper reads the operator's metrics as a monitoring system would: with a token, over HTTPS.
type scraper struct {
	token string
	http  *http.Client
}

// newScraper makes an account that may read metrics.
func (c *cluster) newScraper(ctx context.Context) (*scraper, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bench-scraper", Namespace: v1.DefaultNamespace}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "flux-operator-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account.Name, Namespace: account.Namespace}},
	}
	token := &authenticationv1.TokenRequest{}
	if err := errors.Join(c.admin.Create(ctx, account), c.admin.Create(ctx, binding)); err != nil {
		return nil, fmt.Errorf("making an account for reading metrics: %w", err)
	}
	if err := c.admin.SubResource("token").Create(ctx, account, token); err != nil {
		return nil, fmt.Errorf("asking for a token: %w", err)
	}
	return &scraper{token: token.Status.Token, http: &http.Client{
		Timeout: scrapeLimit,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // the operator signs its certificate itself; the connection does not leave this machine
		}},
	}}, nil
}

// metricsURL is where the operator's metrics are.
func (o *operator) metricsURL() string { return "https://" + o.metrics + "/metrics" }

// passes returns how many passes a loop of the operator has made.
func (s *scraper) passes(ctx context.Context, o *operator, controller string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.metricsURL(), nil)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := s.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("reading metrics: %s", response.Status)
	}
	total := 0.0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), fmt.Sprintf("controller_runtime_reconcile_total{controller=%q,", controller)); found {
			number, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
			if err != nil {
				return 0, fmt.Errorf("reading metrics: %w", err)
			}
			total += number
		}
	}
	return total, lines.Err()
}
