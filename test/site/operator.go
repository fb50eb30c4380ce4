package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// OperatorName is the name of the operator's Deployment, ServiceAccount, Service and roles.
	OperatorName = "flux-operator"
	// operatorHost is the registry that the operator's image is published in.
	operatorHost = "ghcr.io"
	// PullSecret is the Secret with the credentials of the fleet repository, named as in the sample instance.
	PullSecret = "fleet-git"

	// operatorLimit bounds the time from applying the operator's manifests to its being ready.
	operatorLimit = 2 * time.Minute
	fieldOwner    = client.FieldOwner("site")
)

// OperatorUser is the operator as the API server knows it.
const OperatorUser = "system:serviceaccount:" + Namespace + ":" + OperatorName

// InstallOperator applies config/default and waits until the operator is ready. What an earlier run left in a kept cluster is removed.
func (s *Site) InstallOperator(ctx context.Context) error {
	if err := s.ApplyOperator(ctx, nil); err != nil {
		return err
	}
	if err := s.AwaitDeployment(ctx, operatorLimit, Namespace, OperatorName); err != nil {
		return err
	}
	return s.clear(ctx)
}

// ApplyOperator applies config/default with the given environment variables added.
func (s *Site) ApplyOperator(ctx context.Context, env map[string]string) error {
	objects, err := operatorManifests()
	if err != nil {
		return err
	}
	deployment, err := operatorDeployment(objects)
	if err != nil {
		return err
	}
	container := &deployment.Spec.Template.Spec.Containers[0]
	// The digest makes a kept cluster take the image that was just built.
	container.Image += "@" + s.operator
	for _, name := range slices.Sorted(maps.Keys(env)) {
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: env[name]})
	}
	for _, obj := range s.withRights(objects) {
		if obj.GetKind() == "Deployment" {
			if obj.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(deployment); err != nil {
				return fmt.Errorf("converting the operator's Deployment: %w", err)
			}
			unstructured.RemoveNestedField(obj.Object, "status")
		}
		if err := s.Apply(ctx, obj); err != nil {
			return err
		}
	}
	return s.ApplyPullSecret(ctx)
}

// ApplyPullSecret applies the credentials of the fleet repository.
func (s *Site) ApplyPullSecret(ctx context.Context) error { return s.Apply(ctx, pullSecret()) }

// Apply applies an object server-side, by force.
func (s *Site) Apply(ctx context.Context, obj *unstructured.Unstructured) error {
	err := s.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), fieldOwner, client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s %q: %w", obj.GetKind(), obj.GetName(), err)
	}
	return nil
}

// operatorManifests renders config/default as kubectl does.
func operatorManifests() ([]*unstructured.Unstructured, error) {
	root, err := tools.Root()
	if err != nil {
		return nil, err
	}
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	options.Reorder = krusty.ReorderOptionLegacy
	rendered, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "config", "default"))
	if err != nil {
		return nil, fmt.Errorf("building config/default: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range rendered.Resources() {
		content, err := resource.Map()
		if err != nil {
			return nil, fmt.Errorf("reading %s of config/default: %w", resource.CurId(), err)
		}
		objects = append(objects, &unstructured.Unstructured{Object: content})
	}
	return objects, nil
}

func operatorDeployment(objects []*unstructured.Unstructured) (*appsv1.Deployment, error) {
	i := slices.IndexFunc(objects, func(obj *unstructured.Unstructured) bool { return obj.GetKind() == "Deployment" })
	if i < 0 {
		return nil, errors.New("finding the Deployment of config/default: there is none")
	}
	deployment := &appsv1.Deployment{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, deployment); err != nil {
		return nil, fmt.Errorf("reading the Deployment of config/default: %w", err)
	}
	if len(deployment.Spec.Template.Spec.Containers) != 1 {
		return nil, fmt.Errorf("reading the Deployment of config/default: it has %d containers", len(deployment.Spec.Template.Spec.Containers))
	}
	return deployment, nil
}

// pushOperator builds the operator from this checkout and pushes it under the name that the manifests give it.
func (s *Site) pushOperator(ctx context.Context) error {
	repository, version, err := operatorReference()
	if err != nil {
		return err
	}
	s.operator, err = s.pushVersion(ctx, repository, version)
	return err
}

// PushOperator builds the operator of another version and returns its image by digest.
func (s *Site) PushOperator(ctx context.Context, version string) (string, error) {
	repository, _, err := operatorReference()
	if err != nil {
		return "", err
	}
	digest, err := s.pushVersion(ctx, repository, version)
	return operatorHost + "/" + repository + "@" + digest, err
}

// operatorReference is the repository, without the registry, and the tag of the operator's image in config/default.
func operatorReference() (repository, version string, err error) {
	objects, err := operatorManifests()
	if err != nil {
		return "", "", err
	}
	deployment, err := operatorDeployment(objects)
	if err != nil {
		return "", "", err
	}
	reference := deployment.Spec.Template.Spec.Containers[0].Image
	name, version, found := strings.Cut(reference, ":")
	repository, onHost := strings.CutPrefix(name, operatorHost+"/")
	if !found || !onHost {
		return "", "", fmt.Errorf("reading the operator's image %q: want %s/repository:tag", reference, operatorHost)
	}
	return repository, version, nil
}

// pushVersion builds the operator with the test distribution and pushes it.
func (s *Site) pushVersion(ctx context.Context, repository, version string) (string, error) {
	s.sayf("testbed: image %s:%s, built from this checkout", repository, version)
	return s.Cluster.PushImage(ctx, testbed.Image{
		Repository: repository, Tag: version, Package: ".",
		LinkFlags: []string{"-X", "main.VERSION=" + version},
		Options:   image.Options{Files: map[string]fs.FS{"/data": os.DirFS(s.Distribution)}},
	})
}

func pullSecret() *unstructured.Unstructured {
	secret := &unstructured.Unstructured{}
	secret.SetAPIVersion("v1")
	secret.SetKind("Secret")
	secret.SetNamespace(Namespace)
	secret.SetName(PullSecret)
	data := map[string]any{}
	for key, value := range fleetCredentials() {
		data[key] = value
	}
	secret.Object["stringData"] = data
	return secret
}

// OperatorPod returns the operator's one pod that is not on its way out.
func (s *Site) OperatorPod(ctx context.Context) (*corev1.Pod, error) {
	pods := &corev1.PodList{}
	if err := s.Client.List(ctx, pods, client.InNamespace(Namespace), client.MatchingLabels{"app.kubernetes.io/name": OperatorName}); err != nil {
		return nil, fmt.Errorf("listing the operator's pods: %w", err)
	}
	pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if len(pods.Items) != 1 {
		names := make([]string, 0, len(pods.Items))
		for _, pod := range pods.Items {
			names = append(names, pod.Name)
		}
		return nil, fmt.Errorf("finding the operator's pod: there are %d: %s", len(names), cmp.Or(strings.Join(names, ", "), "none"))
	}
	return &pods.Items[0], nil
}
