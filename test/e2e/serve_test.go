package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	metricsPort = 8080
	healthPort  = 8081
)

func serving() {
	var pod *corev1.Pod
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		var err error
		pod, err = here.OperatorPod(ctx)
		must(err)
	})

	It("shows its metrics to those who may read them, and to nobody else", func(ctx context.Context) {
		reader, stranger := token(ctx, "metrics-reader"), token(ctx, "metrics-stranger")
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "e2e-metrics-reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "flux-operator-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "metrics-reader"}},
		}
		must(here.Client.Create(ctx, binding))
		DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, binding)) })
		base := "https://" + forward(ctx, pod, metricsPort)

		code, _ := ask(ctx, base+"/metrics", "")
		Expect(code).To(Equal(http.StatusUnauthorized))
		code, _ = ask(ctx, base+"/metrics", stranger)
		Expect(code).To(Equal(http.StatusForbidden))
		body := read(ctx, base+"/metrics", reader)
		Expect(body).To(ContainSubstring(`controller_runtime_reconcile_total{controller="fluxinstance",result="success"}`))
		code, _ = ask(ctx, base+"/debug/pprof/", reader)
		Expect(code).To(Equal(http.StatusNotFound))
	})

	It("answers its probes", func(ctx context.Context) {
		base := "http://" + forward(ctx, pod, healthPort)
		for _, path := range []string{"/readyz", "/healthz"} {
			code, body := ask(ctx, base+path, "")
			Expect(code).To(Equal(http.StatusOK), "%s: %s", path, body)
		}
	})

	It("listens nowhere else", func(context.Context) {
		pid, err := site.Process(pod)
		must(err)
		Expect(listening(pid)).To(ConsistOf(metricsPort, healthPort))
	})

	It("runs without rights on its node", func(ctx context.Context) {
		container := pod.Spec.Containers[0]
		Expect(*container.SecurityContext.ReadOnlyRootFilesystem).To(BeTrue())
		runsConfined(pod, 65532)
		Expect(pod.Status.ContainerStatuses[0].RestartCount).To(BeZero())
	})
}

// runsConfined checks that the process in a pod's first container has the user, no capabilities and a filter of system calls.
func runsConfined(pod *corev1.Pod, user int64) {
	GinkgoHelper()
	pid, err := site.Process(pod)
	must(err)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(err)
	Expect(string(status)).To(MatchRegexp(fmt.Sprintf(`(?m)^Uid:\s+%d\s`, user)), pod.Name)
	Expect(string(status)).To(MatchRegexp(`(?m)^CapEff:\s+0+$`), pod.Name)
	Expect(string(status)).To(MatchRegexp(`(?m)^Seccomp:\s+2$`), pod.Name)
}

// token returns a token of a service account in the namespace default, which is made when it does not exist.
func token(ctx context.Context, name string) string {
	GinkgoHelper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	must(here.Client.Create(ctx, account))
	DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, account)) })
	request := &authenticationv1.TokenRequest{}
	must(here.Client.SubResource("token").Create(ctx, account, request))
	return request.Status.Token
}

func forward(ctx context.Context, pod *corev1.Pod, port int) string {
	GinkgoHelper()
	address, stop, err := here.Forward(ctx, pod.Name, port)
	must(err)
	DeferCleanup(stop)
	return address
}

// ask returns status and body of an answer. The operator signs its certificate itself, so it is not checked.
func ask(ctx context.Context, url, token string) (int, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	c := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	response, err := c.Do(request)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	must(err)
	return response.StatusCode, string(body)
}

// read waits until the operator lets somebody in who may read something since a moment ago, and returns it: the API server's authorizer learns of that
// a little later, and the operator remembers a refusal for half a minute.
func read(ctx context.Context, url, token string) string {
	GinkgoHelper()
	var body string
	eventually(ctx, soonLimit, "the operator to let its reader in", func(ctx context.Context) error {
		code, said := ask(ctx, url, token)
		body = said
		return same(code, http.StatusOK)
	})
	return body
}

// listening are the TCP ports that are listened on in the network namespace of a process.
func listening(pid int) []int {
	GinkgoHelper()
	const stateListen = "0A"
	var ports []int
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		must(err)
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != stateListen {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			must(err)
			ports = append(ports, int(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
