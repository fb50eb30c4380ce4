package artifact

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"oras.land/oras-go/v2/registry/remote/auth"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ambient gives the process the identity that each cloud gives its pods.
func ambient(t *testing.T) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte(shownToken), 0o600))
	for name, value := range map[string]string{
		"HOME": t.TempDir(), "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
		"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/flux", "AWS_WEB_IDENTITY_TOKEN_FILE": token,
		"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant", "AZURE_FEDERATED_TOKEN_FILE": token, "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
		"GCE_METADATA_HOST": metadataServer(t), "GOOGLE_APPLICATION_CREDENTIALS": "",
	} {
		t.Setenv(name, value)
	}
}

// metadataServer is what GKE runs on each node.
func metadataServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		answers := map[string]string{
			"/computeMetadata/v1/instance/service-accounts/default/token":    `{"access_token":"password of GAR","expires_in":3600,"token_type":"Bearer"}`,
			"/computeMetadata/v1/project/project-id":                         "project",
			"/computeMetadata/v1/instance/attributes/cluster-location":       "europe-west1",
			"/computeMetadata/v1/instance/attributes/cluster-name":           "cluster",
			"/computeMetadata/v1/universe/universe-domain":                   "googleapis.com",
			"/computeMetadata/v1/instance/service-accounts/default/identity": "",
		}
		answer, ok := answers[r.URL.Path]
		if !ok || r.Header.Get("Metadata-Flavor") != "Google" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func newClouds(t *testing.T, objects ...client.Object) *Clouds {
	t.Helper()
	issue := interceptor.Funcs{SubResourceCreate: func(_ context.Context, _ client.Client, resource string, owner, body client.Object, _ ...client.SubResourceCreateOption) error {
		request, ok := body.(*authenticationv1.TokenRequest)
		if !ok || resource != "token" {
			return fmt.Errorf("%s of %T was asked for", resource, body)
		}
		request.Status.Token = fmt.Sprintf("%s for %s of %s", shownToken, request.Spec.Audiences, owner.GetName())
		return nil
	}}
	clouds, err := NewClouds(fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(issue).Build())
	must(t, err)
	return clouds
}

// TestTokenMetrics logs in twice, the second time by what was kept, and wants the names and labels that the API promises.
func TestTokenMetrics(t *testing.T) {
	cloud := newFakeCloud(t)
	ambient(t)
	registry := prometheus.NewPedanticRegistry()
	clouds, err := NewClouds(fake.NewClientBuilder().Build(), TokenMetrics(registry)...)
	must(t, err)
	login := mustLogin(t, clouds, CloudIdentity{Provider: "aws", Proxy: cloud.proxy(), Instance: types.NamespacedName{Namespace: "flux-system", Name: "flux"}})
	for range 2 {
		_, err := login(t.Context(), Reference{Registry: ecrHost, Repository: "flux/distribution"})
		must(t, err)
	}
	families, err := registry.Gather()
	must(t, err)
	var found []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			found = append(found, family.GetName()+"{"+strings.Join(labels, ",")+"}")
		}
	}
	for _, want := range []string{
		"flux_token_cache_events_total{event_type=cache_hit,exported_namespace=flux-system,kind=FluxInstance,name=flux,operation=reconcile}",
		"flux_token_cache_events_total{event_type=cache_miss,exported_namespace=flux-system,kind=FluxInstance,name=flux,operation=reconcile}",
		"flux_token_cache_evictions_total{}", "flux_token_cache_requests_total{status=success}", "flux_token_cached_items{}",
	} {
		if !slices.Contains(found, want) {
			t.Errorf("%s is not among %q", want, found)
		}
	}
}

func mustLogin(t *testing.T, clouds *Clouds, who CloudIdentity) Login {
	t.Helper()
	login, err := clouds.Login(who)
	must(t, err)
	return login
}

func TestLoginByOwnIdentity(t *testing.T) {
	for name, c := range map[string]struct {
		provider, registry string
		want               auth.Credential
		hosts              []string
	}{
		"ECR":        {"aws", ecrHost, auth.Credential{Username: "AWS", Password: "password of ECR"}, []string{"sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"}},
		"public ECR": {"aws", "public.ecr.aws", auth.Credential{Username: "AWS", Password: "password of ECR"}, []string{"sts.us-east-1.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com"}},
		"ACR":        {"azure", acrHost, auth.Credential{Username: "00000000-0000-0000-0000-000000000000"}, []string{"login.microsoftonline.com", acrHost}},
		"GAR":        {"gcp", garHost, auth.Credential{Username: "oauth2accesstoken", Password: "password of GAR"}, nil},
		"old GCR":    {"gcp", "eu.gcr.io", auth.Credential{Username: "oauth2accesstoken", Password: "password of GAR"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newFakeCloud(t)
			ambient(t)
			login := mustLogin(t, newClouds(t), CloudIdentity{Provider: c.provider, Proxy: cloud.proxy()})
			got, err := login(t.Context(), Reference{Registry: c.registry, Repository: "flux/distribution"})
			must(t, err)
			if name == "ACR" {
				c.want.Password = got.Password
				if !strings.HasSuffix(got.Password, ".") {
					t.Errorf("password is %q, want the refresh token of ACR", got.Password)
				}
			}
			if got != c.want {
				t.Errorf("credential is %+v, want %+v", got, c.want)
			}
			if hosts := cloud.hosts(); !slices.Equal(hosts, c.hosts) {
				t.Errorf("asked %q, want %q", hosts, c.hosts)
			}
			for _, host := range c.hosts {
				if !slices.Contains(cloud.proxied, host+":443") {
					t.Errorf("%q was not reached through the proxy", host)
				}
			}
			if len(c.hosts) > 0 && cloud.shown != shownToken {
				t.Errorf("the cloud was shown %q, want the token of the pod", cloud.shown)
			}
		})
	}
}

func TestLoginByServiceAccount(t *testing.T) {
	for name, c := range map[string]struct {
		provider, registry string
		annotations        map[string]string
		want               auth.Credential
		shown              string
		hosts              []string
	}{
		"ECR": {"aws", ecrHost, map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/distribution"},
			auth.Credential{Username: "AWS", Password: "password of ECR"}, shownToken + " for [sts.amazonaws.com] of distribution",
			[]string{"sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"}},
		"ACR": {"azure", acrHost, map[string]string{"azure.workload.identity/client-id": "client", "azure.workload.identity/tenant-id": "tenant"},
			auth.Credential{Username: "00000000-0000-0000-0000-000000000000"}, shownToken + " for [api://AzureADTokenExchange] of distribution",
			[]string{"login.microsoftonline.com", acrHost}},
		"GAR from another cluster": {"gcp", garHost, map[string]string{"gcp.auth.fluxcd.io/workload-identity-provider": "projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"},
			auth.Credential{Username: "oauth2accesstoken", Password: cloudSecret}, shownToken + " for [//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster] of distribution",
			[]string{"sts.googleapis.com"}},
		"GAR from GKE as somebody": {"gcp", garHost, map[string]string{"iam.gke.io/gcp-service-account": "flux@project.iam.gserviceaccount.com"},
			auth.Credential{Username: "oauth2accesstoken", Password: "password of the impersonated"}, shownToken + " for [project.svc.id.goog] of distribution",
			[]string{"sts.googleapis.com", "iamcredentials.googleapis.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newFakeCloud(t)
			t.Setenv("GCE_METADATA_HOST", metadataServer(t))
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "distribution", Annotations: c.annotations}}
			login := mustLogin(t, newClouds(t, account), CloudIdentity{Provider: c.provider, ServiceAccount: client.ObjectKeyFromObject(account), Proxy: cloud.proxy()})
			got, err := login(t.Context(), Reference{Registry: c.registry, Repository: "flux/distribution"})
			must(t, err)
			if name == "ACR" {
				c.want.Password = got.Password
			}
			if got != c.want {
				t.Errorf("credential is %+v, want %+v", got, c.want)
			}
			if cloud.shown != c.shown {
				t.Errorf("the cloud was shown %q, want %q", cloud.shown, c.shown)
			}
			if hosts := cloud.hosts(); !slices.Equal(hosts, c.hosts) {
				t.Errorf("asked %q, want %q", hosts, c.hosts)
			}
		})
	}
}

// Without a proxy of its own, a login takes the transport of the process, and with it the proxy of the environment.
func TestLoginWithoutProxy(t *testing.T) {
	cloud := newFakeCloud(t)
	ambient(t)
	http.DefaultTransport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, cloud.server.Listener.Addr().String())
	}
	login := mustLogin(t, newClouds(t), CloudIdentity{Provider: "aws"})
	if got, err := login(t.Context(), Reference{Registry: ecrHost}); err != nil || got.Password != "password of ECR" {
		t.Errorf("credential is %+v and error %v", got, err)
	}
}

func TestTokensAreKeptWhileTheyLive(t *testing.T) {
	cloud := newFakeCloud(t)
	ambient(t)
	clouds := newClouds(t)
	who := CloudIdentity{Provider: "aws", Proxy: cloud.proxy()}
	ask := func() int {
		t.Helper()
		before := cloud.requests()
		_, err := mustLogin(t, clouds, who)(t.Context(), Reference{Registry: ecrHost})
		must(t, err)
		return cloud.requests() - before
	}
	if first, second := ask(), ask(); first != 2 || second != 0 {
		t.Errorf("%d requests for the first login and %d for the second, want 2 and 0", first, second)
	}
	clouds = newClouds(t)
	cloud.lives = -time.Second
	if first, second := ask(), ask(); first != 2 || second != 2 {
		t.Errorf("%d requests for a login with expired tokens and %d for the next, want 2 each", first, second)
	}
}

// A ServiceAccount that is given another role takes it at once.
func TestRotatedRole(t *testing.T) {
	cloud := newFakeCloud(t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: "flux-system", Name: "distribution", Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/one"},
	}}
	clouds := newClouds(t, account)
	login := mustLogin(t, clouds, CloudIdentity{Provider: "aws", ServiceAccount: client.ObjectKeyFromObject(account), Proxy: cloud.proxy()})
	ask := func() int {
		t.Helper()
		before := cloud.requests()
		_, err := login(t.Context(), Reference{Registry: ecrHost})
		must(t, err)
		return cloud.requests() - before
	}
	if first, second := ask(), ask(); first != 2 || second != 0 {
		t.Errorf("%d requests for the first login and %d for the second, want 2 and 0", first, second)
	}
	account.Annotations["eks.amazonaws.com/role-arn"] = "arn:aws:iam::123456789012:role/two"
	must(t, clouds.client.Update(t.Context(), account))
	if again := ask(); again != 2 {
		t.Errorf("%d requests after the change of the role, want 2", again)
	}
}

func TestLoginFails(t *testing.T) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "distribution"}}
	key := client.ObjectKeyFromObject(account)
	for name, c := range map[string]struct {
		provider, registry string
		account            types.NamespacedName
		words              []string
	}{
		"registry of nobody, aws":    {"aws", "registry.example.com", types.NamespacedName{}, []string{`"registry.example.com"`, "provider aws is for <account>.dkr.ecr", "provider generic"}},
		"registry of another cloud":  {"azure", garHost, types.NamespacedName{}, []string{"provider azure is for <name>.azurecr.io"}},
		"registry that looks alike":  {"aws", ecrHost + ".evil.com", types.NamespacedName{}, []string{"provider aws is for"}},
		"registry with port":         {"gcp", garHost + ":8443", types.NamespacedName{}, []string{"provider gcp is for"}},
		"refused by aws":             {"aws", ecrHost, types.NamespacedName{}, []string{`logging in to "` + ecrHost + `" by provider aws`, "403"}},
		"refused by azure":           {"azure", acrHost, types.NamespacedName{}, []string{"provider azure", "403"}},
		"account that is not there":  {"aws", ecrHost, types.NamespacedName{Namespace: "flux-system", Name: "other"}, []string{`"other" not found`}},
		"account without annotation": {"aws", ecrHost, key, []string{"eks.amazonaws.com/role-arn"}},
		"account without client":     {"azure", acrHost, key, []string{"azure.workload.identity/tenant-id"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newFakeCloud(t)
			ambient(t)
			cloud.answer = func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, strings.Repeat("no\n", 1000), http.StatusForbidden)
			}
			login := mustLogin(t, newClouds(t, account), CloudIdentity{Provider: c.provider, ServiceAccount: c.account, Proxy: cloud.proxy()})
			got, err := login(t.Context(), Reference{Registry: c.registry})
			if err == nil || got != auth.EmptyCredential {
				t.Fatalf("credential is %+v and error %v", got, err)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not contain %q", err, word)
				}
			}
			if text := err.Error(); len(text) > 600 || strings.Contains(text, "\n") || strings.Contains(text, shownToken) || strings.Contains(text, proxyPassword) {
				t.Errorf("error %q is long, or tells a secret", text)
			}
		})
	}
	if _, err := newClouds(t).Login(CloudIdentity{Provider: "generic"}); err == nil || !strings.Contains(err.Error(), `provider "generic" is no cloud`) {
		t.Errorf("error is %v", err)
	}
}

func TestLoginRespectsDeadline(t *testing.T) {
	for provider, registry := range map[string]string{"aws": ecrHost, "azure": acrHost, "gcp": garHost} {
		t.Run(provider, func(t *testing.T) {
			cloud := newFakeCloud(t)
			ambient(t)
			hang := make(chan struct{})
			stuck := func(http.ResponseWriter, *http.Request) {
				<-hang
				panic(http.ErrAbortHandler) // an empty answer would be one
			}
			cloud.answer = stuck
			metadata := httptest.NewServer(http.HandlerFunc(stuck))
			t.Cleanup(metadata.Close)
			t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(metadata.URL, "http://"))
			t.Cleanup(func() { close(hang) })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := mustLogin(t, newClouds(t), CloudIdentity{Provider: provider, Proxy: cloud.proxy()})(ctx, Reference{Registry: registry})
			if err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) || time.Since(began) > 20*time.Second {
				t.Errorf("error is %v after %s, want one at the deadline", err, time.Since(began))
			}
		})
	}
}
